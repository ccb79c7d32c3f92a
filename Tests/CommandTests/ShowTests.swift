// SPDX-License-Identifier: BSD-2-Clause
//
// `stave show`: of a stopped process, of its core file, of types of one name; order, CSV, what is refused.

import Foundation
import Testing

@testable import Exporters
@testable import Inspection
@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct ShowTests {
  static func cells(_ text: String) -> [[String]] { text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) } }

  @Test func `L72 types, zones, caches and a type of a stopped process, and the same of its core`() throws {
    let work = "for (int i = 0; i < 1000; i++) held[i] = malloc(100); for (int i = 0; i < 10; i++) held[1000 + i] = malloc(1 << 20); for (int i = 0; i < 50; i++) free(held[i]);"
    guard let (started, folder) = try stopped(work, options: "background:0,types:library") else { return }
    defer { kill(started.id, SIGKILL) }
    try withExtendedLifetime(folder) {
      func show(_ words: String...) throws -> String {
        let ended = try start(Built.command, ["show", "\(started.id)"] + words).end()
        #expect(ended.status == 0, ended.report)
        return ended.text
      }
      let types = try Self.cells(show("malloc"))
      let bytes: Int = 950 * 112 + (10 << 20)
      let first: [String] = ["main", "960", "\((bytes + 1023) / 1024)K", "1010"]
      #expect(types[0] == ["Type", "InUse", "MemUse", "Requests"], "\(types)")
      #expect(types[1] == first, "\(types)")
      let zones = try Self.cells(show("zones"))
      let sizes = zones.dropFirst().map { Int($0[7]) ?? -1 }
      #expect(zones[0].prefix(7) == ["Zone", "Size", "Used", "Free", "Requests", "Sleeps", "Bucket"] && sizes == sizes.sorted(by: >) && sizes.first ?? 0 > 100_000, "\(zones)")
      #expect(zones.contains { $0[0] == "main-112" && $0[2] == "950" && Int($0[7]) == (950 + (Int($0[3]) ?? 0)) * 112 })
      let caches = try Self.cells(show("caches"))
      #expect(caches.contains { $0[0] == "main-112" && $0[2] == "CPU" } && caches.contains { $0[0] == "main-112" && $0[2] == "depot" }, "\(caches)")
      let own = caches.filter { $0[0] == "main-112" }
      // All that was asked for and freed is in one cache's count or another's.
      #expect(own.reduce(0) { $0 + (Int($1[$1.count - 2]) ?? 0) } == 1000 && own.reduce(0) { $0 + (Int($1[$1.count - 1]) ?? 0) } == 50, "\(own)")
      let type = try show("main")
      let lines = Self.cells(type)
      let rest: [String] = Array(first.dropFirst()) + ["50", "0"]
      #expect(lines[1][0] == "main" && Array(lines[1].dropFirst(2)) == rest, "\(lines)")
      #expect(lines.contains { $0.prefix(4) == ["large", "blocks", "10", "10"] && $0.last == "10485760" } && lines.contains { $0[0] == "CPU" })
      let csv = try show("--csv", "malloc")
      #expect(csv.hasPrefix("Type,InUse,MemUse,Requests\nmain,960,"))
      let unknown = try stave("show", "\(started.id)", "mian")
      #expect(unknown.status == 2 && unknown.errorText == "stave: there is no malloc type mian; did you mean main?\n")
      #expect(try stave("show", "\(started.id)").status == 2 && stave("show", "\(started.id)", "malloc", "zones").status == 2)
      #expect(try stave("show", "--type", "\(started.id)", "malloc").text.hasPrefix("Type    Instance"))

      guard let gdb = find("gdb") else { return announceSkip("show of a core: no gdb") }
      let core = folder.file("core")
      _ = try run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(core)", "-p", "\(started.id)"])
      guard FileManager.default.isReadableFile(atPath: core) else { return announceSkip("show of a core: gdb wrote none") }
      for subject in ["malloc", "zones", "caches", "main"] { #expect(try stave("show", core, subject).text == show(subject), "\(subject)") }
      let sizes2 = try stave("sizes", core)
      #expect(sizes2.status == 1 && sizes2.errorText.contains("STAVE_OPTIONS=sizes:1"))
    }
  }

  @Test func `whose an address of guarded blocks is: live, freed, beside, of none; what is guarded stands beside the sum`() throws {
    let work = "extern int dprintf(int, const char *, ...); held[0] = malloc(100); held[1] = malloc(40); free(held[1]); dprintf(1, \"%p %p\\n\", held[0], held[1]);"
    guard let (started, folder) = try stopped(work, options: "background:0,types:library,memguard:1,memguard_max:100,memguard_min:40") else { return }
    defer { kill(started.id, SIGKILL) }
    try withExtendedLifetime(folder) {
      let addresses = started.printed.split(whereSeparator: \.isWhitespace).compactMap { UInt($0.dropFirst(2), radix: 16) }
      try #require(addresses.count == 2, "\(started.printed)")
      let (live, freed) = (addresses[0], addresses[1])
      func show(_ address: UInt, _ words: [String] = []) throws -> String {
        let ended = try start(Built.command, ["show", "\(started.id)", address.hexadecimal] + words).end()
        #expect(ended.status == 0, ended.report)
        return ended.text
      }
      let first = try show(live + 7)
      #expect(first.hasPrefix("\((live + 7).hexadecimal): 7 bytes into the guarded block at \(live.hexadecimal) of 100 bytes, in use, of type main, of libstave.so\n"), "\(first)")
      #expect(first.contains("\n  allocated by\n  #0 ") && first.contains(" main+0x") && !first.contains("freed by"), "\(first)")
      let second = try show(freed - 3)
      #expect(second.contains(": 3 bytes before the guarded block at \(freed.hexadecimal) of 40 bytes, freed, of type main,"), "\(second)")
      #expect(second.contains("\n  freed by\n  #0 "), "\(second)")
      let told = try #require(try JSONSerialization.jsonObject(with: Data(show(freed, ["--json"]).utf8)) as? [[String: Any]]).first
      #expect(told?["kind"] as? String == "guarded block" && told?["state"] as? String == "freed" && told?["size"] as? Int == 40, "\(told ?? [:])")
      let csv = try stave("show", "--csv", "\(started.id)", live.hexadecimal)
      #expect(csv.status == 2 && csv.text.isEmpty && csv.errorText.contains("say --json"), csv.report)
      #expect((told?["allocated-by"] as? [String])?.isEmpty == false && (told?["freed-by"] as? [String])?.first?.hasPrefix("#0 ") == true, "\(told ?? [:])")
      let range = try #require(UInt(stave("get", "\(started.id)", "vm.memguard.mapstart").text.split(separator: " ").last?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""))
      let bytes = try #require(UInt(stave("get", "\(started.id)", "vm.memguard.mapsize").text.split(separator: " ").last?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""))
      #expect(try show(range + bytes - 1).contains(": among the addresses of guarded blocks, of none that is known, of libstave.so"))
      let sum = try stave("sum", "\(started.id)").text
      #expect(sum.contains("guarded blocks, on pages of their own and in none of these figures: 1, 4096 bytes of pages\n"), "\(sum)")
      #expect(try object(stave("sum", "--json", "\(started.id)").text)["guarded-blocks"] as? Int == 1)
    }
  }

  @Test func `the largest come first, equal ones in the order of the list, and absurd figures trap nobody`() {
    var snapshot = Snapshot()
    snapshot.types = [("a", 10), ("b", 4000), ("c", 10), ("d", 5000), ("e", 10), ("unused", 0)].map { name, bytes in
      var type = TypeSnapshot()
      (type.name, type.usedBytes, type.used, type.allocations) = (name, bytes, bytes / 10, Int64(bytes))
      return type
    }
    #expect(ShowTable.malloc(snapshot).rows.map { $0[0] } == ["d", "b", "a", "c", "e"])
    #expect(ShowTable.malloc(snapshot).rows[0] == ["d", "500", "5K", "5000"])
    var zone = ZoneSnapshot()
    (zone.name, zone.size, zone.slabs, zone.itemsPerSlab, zone.allocations, zone.crossFrees) = ("wild", 1 << 44, 1 << 30, 1 << 20, 5, 3)
    snapshot.zones = [zone]
    #expect(ShowTable.zones(snapshot).rows[0][7...] == ["\(Int.max)", "3"])
    var table = TextTable(["a", "b,c"])
    table.rows = [["x\"y", "plain"], ["two\nlines", ""]]
    #expect(table.csv() == ["a,\"b,c\"", "\"x\"\"y\",plain", "\"two\nlines\","])
  }

  @Test func `types of one name are all shown, and one by its label`() throws {
    var snapshot = Snapshot()
    snapshot.types = [(0, 0), (1, 0), (2, 1)].map { number, instance in
      var type = TypeSnapshot()
      (type.name, type.number, type.instance) = (number == 0 ? "malloc" : "twin", UInt32(number), instance)
      return type
    }
    for (number, size) in [(0, 16), (1, 32), (2, 64), (9, 128)] {
      var zone = ZoneSnapshot()
      (zone.name, zone.size, zone.isMalloc, zone.type, zone.allocations) = ("zone-\(size)", size, true, UInt32(number), 3)
      snapshot.zones.append(zone)
    }
    #expect(try TypeReport.find("twin", in: snapshot).map { $0.zones.map(\.size) } == [[32], [64]])
    #expect(try TypeReport.find("twin_1", in: snapshot).map { $0.zones.map(\.size) } == [[64]])
    // A zone whose type is gone is malloc's.
    #expect(try TypeReport.find("malloc", in: snapshot).map { $0.zones.map(\.size) } == [[16, 128]])
  }
}
