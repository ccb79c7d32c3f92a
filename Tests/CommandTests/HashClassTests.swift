// SPDX-License-Identifier: BSD-2-Clause
//
// Hash classes from outside: zones of one name apart from each other, sums that close, who shares a class, of a process and of its core;
// an offset that each run draws, and what a fixed one repeats.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct HashClassTests {
  /// Sixteen places that ask, and three malloc types, of which two are of one class with the offset 5.
  static let source = """
    #include <signal.h>
    #include <stdlib.h>
    #include <stave.h>
    STAVE_TYPE_DEFINE(M_IMAGES, "images", "");
    STAVE_TYPE_DEFINE(M_STICKS, "sticks", "");
    STAVE_TYPE_DEFINE(M_NAMELESS, "", "");
    static void *volatile held[16][300];
    static void *volatile typed[3];
    #define SITE(n) __attribute__((noinline)) static void site##n(void) { for (int i = 0; i < 300; i++) held[n][i] = malloc(60); }
    SITE(0) SITE(1) SITE(2) SITE(3) SITE(4) SITE(5) SITE(6) SITE(7) SITE(8) SITE(9) SITE(10) SITE(11) SITE(12) SITE(13) SITE(14) SITE(15)
    int main(void) {
      typed[0] = stave_malloc(60, M_IMAGES, STAVE_WAITOK), typed[1] = stave_malloc(60, M_STICKS, STAVE_WAITOK), typed[2] = stave_malloc(60, M_NAMELESS, STAVE_WAITOK);
      site0(), site1(), site2(), site3(), site4(), site5(), site6(), site7(), site8(), site9(), site10(), site11(), site12(), site13(), site14(), site15();
      raise(SIGSTOP);
    }
    """

  /// The program, stopped; nil, said aloud, without a compiler.
  private func stopped(_ folder: Folder, _ options: String) throws -> Started? {
    let program = folder.file("main")
    if !FileManager.default.fileExists(atPath: program) {
      guard let compiler = find("gcc", "clang", "cc") else {
        announceSkip("hash classes from outside: no compiler")
        return nil
      }
      let include = "-I" + Place.root.appending(path: "build/include").path
      let built = try run(compiler, ["-O2", "-fno-builtin", folder.write(Self.source, "main.c"), include, Built.library, "-o", program])
      try #require(built.succeeded, built.report)
    }
    let started = try Started(program, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options + ",background:0"])
    #expect(wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false }, "\(started.complained)")
    return started
  }

  private struct Sharing {
    var own: Int?
    var types: [String: Int] = [:]
    /// By function.
    var sites: [String: Int] = [:]
  }

  /// What `stave show` says of the type of a name, of which there is one.
  private func sharing(_ target: String, _ type: String) throws -> Sharing {
    let ended = try stave("show", "--json", "--type", target, type)
    #expect(ended.status == 0, ended.report)
    let all = try #require(try JSONSerialization.jsonObject(with: Data(ended.text.utf8)) as? [[String: Any]])
    let part = try #require(all.first?["hash-class"] as? [String: Any], "\(ended.text)")
    #expect(all.count == 1 && part["numzones"] as? Int == 8)
    var result = Sharing(own: part["class"] as? Int)
    for row in try #require(part["shared-by"] as? [[String: Any]]) {
      let index = try #require(row["class"] as? Int)
      if let name = row["type"] as? String { result.types[name] = index }
      if let site = row["site"] as? String, let function = site.components(separatedBy: " in ").last, function.hasPrefix("site") { result.sites[function] = index }
    }
    return result
  }

  private func offset(_ process: Started) throws -> Int {
    let text = try stave("get", "\(process.id)", "debug.malloc.zone_offset").text
    return Int(text.split(separator: " ").last?.trimmingCharacters(in: .whitespacesAndNewlines) ?? "") ?? -1
  }

  @Test func `T6 L64 zones of one name stay apart and their sum closes, and who shares a class is told, live and of the core`() throws {
    let folder = Folder()
    guard let started = try stopped(folder, "numzones:8,zone_offset:5") else { return }
    defer { kill(started.id, SIGKILL) }
    let id = "\(started.id)"
    let zones = try object(stave("zones", "--json", id).text)["memory-zone-statistics"] as? [String: Any]
    let rows = try #require(zones?["zone"] as? [[String: Any]])
    var used: [Int: Int] = [:]
    for row in rows where row["name"] as? String == "malloc-64" {
      #expect(used.updateValue(row["used"] as? Int ?? -1, forKey: row["instance"] as? Int ?? -1) == nil, "twice: \(row)")
    }
    #expect(used.count > 3 && used.keys.allSatisfy { (0..<8).contains($0) } && used.values.reduce(0, +) >= 16 * 300, "\(used)")
    let sum = try object(stave("sum", "--json", id).text)
    func bytes(_ key: String) -> Int { sum[key] as? Int ?? -1 }
    let parts = ["used", "cached", "holes", "metadata", "purgeable", "returned", "in-transit"].map(bytes)
    #expect(parts.allSatisfy { $0 >= 0 } && parts.reduce(0, +) == bytes("mapped") && bytes("in-transit") == 0)
    #expect(rows.reduce(bytes("large-bytes")) { $0 + ($1["used"] as? Int ?? 0) * ($1["size"] as? Int ?? 0) } == bytes("used"))

    let plain = try sharing(id, "malloc")
    #expect(plain.own == nil && plain.sites.count == 16, "\(plain)")
    for index in 0..<8 {
      let least = 300 * plain.sites.values.count { $0 == index }
      #expect(used[index] ?? 0 >= least && used[index] ?? 0 < least + 300, "class \(index): \(used), \(plain.sites)")
    }
    let images = try sharing(id, "images"), nameless = try sharing(id, "")
    #expect(images.own == 3 && images.types == ["images": 3, "sticks": 3] && images.sites == plain.sites.filter { $0.value == 3 }, "\(images)")
    #expect(nameless.own == 0 && nameless.types == ["": 0])
    let text = try stave("show", id, "images").text
    let lines = text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
    #expect(lines.contains("Hash class Of Kind Shared by") && lines.contains("3 8 type images") && lines.contains("3 8 type sticks"), "\(text)")

    guard let gdb = find("gdb") else { return announceSkip("hash classes of a core: no gdb") }
    let core = folder.file("core")
    _ = try run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(core)", "-p", id])
    guard FileManager.default.isReadableFile(atPath: core) else { return announceSkip("hash classes of a core: gdb wrote none") }
    for words in [["show", id, "images"], ["show", "--type", id, "malloc"], ["show", "--json", id, "sticks"]] {
      let live = try start(Built.command, words, [:]).end().text
      let dead = try start(Built.command, words.map { $0 == id ? core : $0 }, [:]).end()
      #expect(dead.text == live && dead.status == 0, dead.report)
    }
  }

  @Test func `each run draws an offset, and a fixed one repeats who shares a class, wherever the program is loaded`() throws {
    let folder = Folder()
    var offsets: [Int] = []
    var classes: [[String: Int]] = []
    for options in ["numzones:8", "numzones:9", "numzones:8,zone_offset:77", "numzones:8,zone_offset:77", "numzones:8,zone_offset:78", "zone_offset:9", ""] {
      guard let started = try stopped(folder, options) else { return }
      defer { kill(started.id, SIGKILL) }
      offsets.append(try offset(started))
      if options.hasPrefix("numzones") {
        classes.append(try sharing("\(started.id)", "malloc").sites)
      } else {
        let ended = try stave("show", "--type", "\(started.id)", "malloc")
        #expect(ended.status == 0 && !ended.text.contains("Hash class"), ended.report)
        #expect(try stave("get", "\(started.id)", "debug.malloc.numzones").text == "debug.malloc.numzones: 1\n")
      }
    }
    #expect(offsets[0] != offsets[1] && offsets.allSatisfy { $0 >= 0 } && offsets[2...] == [77, 77, 78, 9, 0], "\(offsets)")
    #expect(classes.allSatisfy { $0.count == 16 } && classes[2] == classes[3] && classes[3] != classes[4] && classes[0] != classes[1], "\(classes)")
  }
}
