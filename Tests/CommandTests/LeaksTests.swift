// SPDX-License-Identifier: BSD-2-Clause
//
// `stave leaks`: a program that loses blocks of every kind and keeps others in every place (Tests/Leaks/leaky.c), live and as a core;
// one that loses nothing; programs that work.

import Foundation
import Testing

@testable import Exporters
@testable import Inspection
@testable import StaveCommand
@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct LeaksTests {
  /// Lost blocks of one size: how many are lost directly, and what they hold.
  struct Loss: Equatable { var blocks, held, heldBytes: Int }

  /// With sizes as they were asked for, and as the classes have them.
  static let exact = [
    100: Loss(blocks: 3, held: 0, heldBytes: 0), 300: Loss(blocks: 1, held: 9, heldBytes: 2700), 500: Loss(blocks: 1, held: 4, heldBytes: 2000),
    300_000: Loss(blocks: 1, held: 6, heldBytes: 4200), 1200: Loss(blocks: 2, held: 1, heldBytes: 1500),
  ]
  static let classes = [
    112: Loss(blocks: 3, held: 0, heldBytes: 0), 320: Loss(blocks: 1, held: 9, heldBytes: 2880), 512: Loss(blocks: 1, held: 4, heldBytes: 2048),
    303_104: Loss(blocks: 1, held: 6, heldBytes: 4224), 1280: Loss(blocks: 2, held: 1, heldBytes: 1536),
  ]

  private func build(_ folder: Folder) throws -> String? {
    guard let compiler = find("gcc", "clang", "cc") else {
      announceSkip("stave leaks: no compiler")
      return nil
    }
    let source = Place.root.appending(path: "Tests/Leaks/leaky.c").path
    let built = try run(compiler, ["-O1", "-g", "-fno-builtin", "-w", "-pthread", source, "-o", folder.file("leaky")])
    try #require(built.succeeded, built.report)
    return folder.file("leaky")
  }

  private func launch(_ program: String, _ arguments: [String] = [], options: String) throws -> Started {
    let started = try Started(program, arguments, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
    try #require(wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false })
    return started
  }

  private func losses(_ all: [String: Any]) throws -> [Int: Loss] {
    var result: [Int: Loss] = [:]
    for group in try #require(all["groups"] as? [[String: Any]]) {
      let held = group["holds"] as? [String: Int] ?? [:]
      let size = group["size"] as? Int ?? 0
      result[size, default: Loss(blocks: 0, held: 0, heldBytes: 0)].blocks += group["blocks"] as? Int ?? 0
      result[size]!.held += held["blocks"] ?? 0
      result[size]!.heldBytes += held["bytes"] ?? 0
      #expect(group["age"] is NSNull)
    }
    return result
  }

  static let modes: [(options: String, losses: [Int: Loss], inner: Int, stacks: Bool)] = [
    ("background:0", classes, 4096 + 2816, false), ("background:0,percpu:locked,types:library", classes, 4096 + 2816, false),
    ("background:0,redzone:1", exact, 4000 + 2600, true), ("background:0,memguard:1", exact, 4000 + 2600, true),
    ("background:0,memguard:3,redzone:2,check:1", exact, 0, true),
  ]

  @Test(arguments: modes.indices)
  func `L78 T11 what nothing leads to is found, by way of what, live and in a core; what is free or kept anywhere is not`(mode: Int) throws {
    let (options, expected, inner, stacks) = Self.modes[mode]
    let folder = Folder()
    guard let program = try build(folder) else { return }
    let started = try launch(program, options: options)
    let ended = try stave("leaks", "--json", "\(started.id)")
    #expect(ended.status == 1 && ended.errorText.isEmpty, ended.report)
    let all = try object(ended.text)
    if !options.contains("memguard:3") {
      #expect(try losses(all) == expected, ended.report)
      #expect((all["inner"] as? [String: Int]) == ["blocks": 2, "bytes": inner], ended.report)
    } else {
      // Some are guarded, some have guard bytes, some neither: of each kind as many all the same.
      #expect((all["lost"] as? [String: Int])?["blocks"] == 8 && (all["held-by-lost"] as? [String: Int])?["blocks"] == 20, ended.report)
    }
    let unseen = try #require(all["unseen"] as? [String: Int])
    #expect(unseen.allSatisfy { $0.value == 0 }, "\(unseen)")
    #expect((all["looked-at"] as? [String: Int])?["threads"] == 5 && (all["held-seconds"] as? Double ?? 99) < 30)
    if stacks {
      let text = try stave("leaks", "\(started.id)").text
      for name in ["losePointers", "loseList", "loseRing", "loseLarge", "loseShared"] where !options.contains("memguard:3") {
        #expect(text.contains(" \(name)+0x"), "\(name): \(text)")
      }
      #expect(!text.contains("nobody") && text.contains("  allocated by\n  #0 0x"), "\(text)")
    }
    // As it was: no page of shared memory is there that was not.
    let status = try String(contentsOfFile: "/proc/\(started.id)/status", encoding: .utf8)
    let shared = status.split(separator: "\n").first { $0.hasPrefix("RssShmem:") }.flatMap { Int($0.filter(\.isNumber)) }
    #expect(shared ?? 0 < 1024, "\(status)")
    #expect(try String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8).contains(") T "))
    if options.contains("percpu") { return }
    guard let gdb = find("gdb") else { return announceSkip("stave leaks of a core: gdb is not installed") }
    let core = folder.file("core")
    _ = try run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(core)", "-p", "\(started.id)"])
    guard access(core, R_OK) == 0 else { return announceSkip("stave leaks of a core: gdb could not write one (ptrace forbidden?)") }
    let dead = try stave("leaks", "--json", core)
    #expect(dead.status == 1, dead.report)
    let post = try object(dead.text)
    if let empty = (post["unseen"] as? [String: Int])?["guarded-not-in-core"], empty > 0 {
      // gdb does not read past the first guard, where these are marks.
      #expect(options.contains("memguard"))
      return announceSkip("stave leaks of a core with guarded blocks: gdb left \(empty) of them out")
    }
    for key in ["groups", "lost", "held-by-lost", "inner"] {
      #expect((post[key] as? NSObject) == (all[key] as? NSObject), "\(key): \(ended.text) \(dead.text)")
    }
    #expect(post["held-seconds"] is NSNull)
  }

  @Test(arguments: ["background:0", "background:0,redzone:1", "background:0,memguard:1"])
  func `the twin that keeps all loses none`(options: String) throws {
    let folder = Folder()
    guard let program = try build(folder) else { return }
    let started = try launch(program, ["twin"], options: options)
    let ended = try stave("leaks", "\(started.id)")
    #expect(ended.status == 0 && ended.text.contains(" none is lost.\n"), ended.report)
    #expect(ended.text.contains("reached by addresses of their middle alone") && ended.text.contains("The process was held for "), ended.report)
    #expect(!ended.text.contains("How old"), ended.report)
  }

  @Test func `a process that works is held for a moment and has lost nothing`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("stave leaks of a busy process: no compiler") }
    let folder = Folder()
    let built = try run(compiler, ["-O2", "-pthread", "-fno-builtin", folder.write(CheckTests.busy, "busy.c"), "-o", folder.file("busy")])
    try #require(built.succeeded, built.report)
    for options in ["background:1,period:10", "redzone:3,memguard:50"] {
      let started = try Started(folder.file("busy"), environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
      defer { kill(started.id, SIGKILL) }
      #expect(wait { (try? stave("sum", "\(started.id)").status) == 0 })
      #expect(wait { ((try? object(stave("leaks", "--json", "\(started.id)").text))?["looked-at"] as? [String: Int])?["blocks"] ?? 0 > 100 })
      for _ in 0..<2 {
        let ended = try stave("leaks", "--json", "\(started.id)")
        let all = try object(ended.text)
        let unseen = try #require(all["unseen"] as? [String: Int]), lost = try #require(all["lost"] as? [String: Int])
        #expect((all["looked-at"] as? [String: Int])?["blocks"] ?? 0 > 100, ended.report)
        // What a thread inside malloc or free has in hand may look lost: no more than it says.
        #expect(lost["blocks"] ?? 99 <= unseen["items-in-hand-at-most"] ?? 0, ended.report)
        #expect(unseen["contradictions"] == 0, ended.report)
      }
      #expect(wait {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(started.id)/task")) ?? []
        return tasks.count >= 4 && tasks.allSatisfy { (try? String(contentsOfFile: "/proc/\(started.id)/task/\($0)/status", encoding: .utf8))?.contains("TracerPid:\t0") ?? false }
      })
    }
    #expect(try stave("leaks", "999999999").status == 1)
    #expect(try stave("leaks").status == 2)
  }

  /// Items of two zones; one of those named "led" is known to one of those named "leader" alone. What else is kept stands in a global.
  private static let zones = """
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <stave.h>
    static void **kept[100];
    int main(void) {
      struct stave_zone *leaders = stave_zone_create("leader", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
      struct stave_zone *led = stave_zone_create("led", 100, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
      for (int i = 0; i < 99; i++) kept[i] = stave_zone_alloc(leaders, STAVE_NOWAIT);
      *kept[50] = stave_zone_alloc(led, STAVE_NOWAIT);
      kept[99] = malloc(100);
      raise(SIGSTOP);
      return 0;
    }
    """

  @Test func `items of zones that were not looked at are counted, lead to others, and are looked at where they are guarded`() throws {
    let folder = Folder(), library = Place.root.appending(path: "build/libstavezones.so").path
    guard let compiler = find("gcc", "clang", "cc"), access(library, R_OK) == 0 else { return announceSkip("stave leaks of zones: no compiler, or no libstavezones.so") }
    let build = Place.root.appending(path: "build").path
    let built = try run(
      compiler, ["-O1", "-fno-builtin", "-I\(build)/include", folder.write(Self.zones, "zones.c"), "-L\(build)", "-lstavezones", "-Wl,-rpath,\(build)", "-o", folder.file("zones")])
    try #require(built.succeeded, built.report)
    func launch(_ environment: [String: String]) throws -> Started {
      let started = try Started(folder.file("zones"), [], environment: environment)
      try #require(wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false })
      return started
    }
    func unseen(_ ended: Ended) throws -> Int? { (try object(ended.text)["unseen"] as? [String: Int])?["items-of-zones"] }
    // Another copy than malloc's, and the only one.
    for environment in [["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "background:0"], [:]] {
      let started = try launch(environment)
      defer { kill(started.id, SIGKILL) }
      let ended = try stave("leaks", "\(started.id)")
      #expect(ended.status == 0 && ended.text.contains(" none is lost.") && ended.text.hasSuffix("\n100 items of zones were not looked at.\n"), ended.report)
      #expect(try unseen(stave("leaks", "--json", "\(started.id)")) == 100)
    }
    // Those are guarded; the process's malloc is another copy, with a guarded block of its own.
    for (options, seen) in [("memguard:1", 100), ("memguard:1,memguard_type:led", 100)] {
      let started = try launch(["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
      defer { kill(started.id, SIGKILL) }
      let ended = try stave("leaks", "\(started.id)")
      #expect(ended.status == 0 && ended.text.hasSuffix("\n\(seen) items of zones were not looked at.\n"), ended.report)
    }
    // Guarded all, and only those that others lead to.
    for (options, seen, left) in [("memguard:1", 100, 0), ("memguard:1,memguard_type:led", 1, 99)] {
      let started = try launch(["STAVE_OPTIONS": options])
      defer { kill(started.id, SIGKILL) }
      let ended = try stave("leaks", "--json", "\(started.id)"), all = try object(ended.text)
      #expect((all["looked-at"] as? [String: Int])?["blocks"] == seen && (all["lost"] as? [String: Int])?["blocks"] == 0, ended.report)
      #expect(try unseen(ended) == left, ended.report)
    }
  }
}
