// SPDX-License-Identifier: BSD-2-Clause
//
// Snapshots of a real process on libstave.so: stopped, then from a core file of it, then with its memory made absurd. Needs
// `make` first.

import AddressMap
import Exporters
import Glibc
import Testing

@testable import Inspection
@testable import Pages
@testable import TestSupport
@testable import Zones

/// A child on the library that holds known blocks and has stopped itself.
private struct Holder {
  static let blocks = 20_000
  static let large = 12

  let child: Child
  let folder: Folder

  init?() {
    let library = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/build/libstave.so"
    guard access(library, R_OK) == 0 else {
      skipLoudly("snapshots: build/libstave.so is not there: run make first")
      return nil
    }
    guard let compiler = tool("clang", "gcc", "cc") else {
      skipLoudly("snapshots: no C compiler")
      return nil
    }
    folder = Folder()
    let text = """
      #include <signal.h>
      #include <stdlib.h>
      #include <string.h>
      int main(void) {
        static void *held[\(Self.blocks * 2)];
        for (int i = 0; i < \(Self.blocks * 2); i++) held[i] = memset(malloc(1 + i % 3000), 1, 1);
        for (int i = 0; i < \(Self.blocks * 2); i += 2) free(held[i]);
        for (int i = 0; i < \(Self.large); i++) held[i * 2] = memset(malloc(1 << 20), 1, 1);
        raise(SIGSTOP);
        return 0;
      }
      """
    let program = folder.path + "/holder"
    guard run(compiler, ["-fno-builtin", "-o", program, folder.write(Array(text.utf8), "holder.c")]),
      let child = Child("/usr/bin/env", ["LD_PRELOAD=\(library)", "STAVE_OPTIONS=background:0", program])
    else { return nil }
    self.child = child
    for _ in 0..<5000 where !isStopped { usleep(1000) }
    guard isStopped else { return nil }
  }

  var isStopped: Bool { (try? ProcessEntry(process: child.process))?.state == "T" }
}

/// A target whose memory reads otherwise at some words.
private struct Patched: TargetMemory {
  var inner: any TargetMemory
  var words: [UInt: UInt64] = [:]

  var name: String { inner.name }
  var process: Int32 { inner.process }
  var executablePath: String? { inner.executablePath }
  func mappings() throws(InspectionError) -> [Mapping] { try inner.mappings() }
  func modules(among mappings: [Mapping]) -> [Module] { inner.modules(among: mappings) }
  func file(of module: Module) -> FileBytes? { inner.file(of: module) }
  func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    try inner.read(into: buffer, at: address)
    for (place, word) in words where place >= address && place + 8 <= address + UInt(buffer.count) {
      buffer.storeBytes(of: word, toByteOffset: Int(place - address), as: UInt64.self)
    }
  }
}

@Suite struct SnapshotTests {
  @Test func `L72 a stopped process is read without its help, and its sums are right`() throws {
    guard let holder = Holder() else { return }
    let snapshot = try SnapshotReader(LiveProcess(process: holder.child.process)).snapshot()
    #expect(holder.isStopped, "nothing has let it run")
    #expect(snapshot.zones.reduce(0) { $0 + $1.used } >= Holder.blocks)
    #expect(snapshot.zones.reduce(0) { $0 + $1.used } < Holder.blocks + 500, "its own start-up takes few")
    #expect(snapshot.largeBlocks >= Holder.large)
    for zone in snapshot.zones {
      #expect(zone.used == zone.usedBySlabs, "\(zone.name): allocations − frees against a walk over the slabs")
      #expect(zone.slabs == zone.walkedSlabs && zone.freeItems == zone.walkedFreeItems)
      #expect(zone.free == zone.freeItems + zone.cached)
    }
    let sum = snapshot.used + snapshot.cached + snapshot.holes + snapshot.inTransit + snapshot.metadata + snapshot.purgeable
    #expect(sum + snapshot.returned == snapshot.mapped && snapshot.inTransit == 0)
  }

  @Test func `L78 T5 a core of the same build says what the live process says`() throws {
    guard let holder = Holder() else { return }
    guard let gdb = tool("gdb") else { return skipLoudly("snapshots of cores: gdb is not installed") }
    let live = try SnapshotReader(LiveProcess(process: holder.child.process)).snapshot()
    let path = holder.folder.path + "/core"
    _ = run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(path)", "-p", "\(holder.child.process)"])
    guard access(path, R_OK) == 0 else { return skipLoudly("snapshots of cores: gdb could not write one (ptrace forbidden?)") }
    let core = try SnapshotReader(CoreFile(path: path)).snapshot()
    func lines(_ snapshot: Snapshot) -> [String] {
      snapshot.zones.map {
        "\($0.name)_\($0.instance) \($0.size) \($0.allocations) \($0.frees) \($0.slabs) \($0.freeItems) \($0.walkedSlabs) "
          + "\($0.walkedFreeItems) \($0.cachedPerCPU) \($0.cachedInDepot) used \($0.used) free \($0.free)"
      }
    }
    #expect(lines(core) == lines(live))
    #expect(core.zones.contains { $0.freeItems > 0 }, "free items of the kegs count as free")
    for zone in core.zones { #expect(zone.free == zone.freeItems + zone.cached) }
    #expect(core.used == live.used && core.mapped == live.mapped && core.purgeable == live.purgeable)
  }

  @Test func `T13 counts and lists of a target are bounded before they are believed`() throws {
    guard let holder = Holder() else { return }
    let target = try LiveProcess(process: holder.child.process)
    let root = try SnapshotReader(target).location.address
    let first = try target.read(UInt.self, at: root + UInt(RootLayout.zonesOffset))
    func look(_ words: [UInt: UInt64]) -> InspectionError? {
      errorOf { () throws(InspectionError) in
        let snapshot = try SnapshotReader(Patched(inner: target, words: words)).snapshot()
        var table = ZoneTable()
        table.isWide = true
        _ = table.table(snapshot).lines()
        _ = table.json(snapshot).description
        _ = SumReport.lines(snapshot)
      }
    }
    #expect(look([:]) == nil)
    // A list without an end, an arena that ends before it begins, and one that has no end.
    guard case .damaged = look([first: UInt64(first)]) else {
      Issue.record("a zone that is its own successor")
      return
    }
    let arena = root + UInt(RootLayout.arenaOffset)
    let frontier = arena + 16  // behind the start and end of the window
    for word in [0, UInt64.max] {
      guard case .damaged = look([frontier: word]) else {
        Issue.record("a frontier at \(word)")
        return
      }
    }
    // Any word of the root, of a zone and of its keg may be anything: an error or figures, never a trap, and an end.
    var generator = Generator(14)
    // What follows the name, the instance and the flags of a zone is the address of its keg.
    let keg = try target.read(UInt.self, at: first + 48)
    for _ in 0..<600 {
      let place =
        generator.below(2) == 0
        ? root + 128 + UInt(generator.below((RootLayout.bytes - 136) / 8)) * 8
        : [first, keg][generator.below(2)] + UInt(generator.below(30)) * 8
      _ = look([place: [0, 1, .max, .max >> 1, 1 << 47, generator.next()][generator.below(6)]])
    }
  }

  @Test func `T6 zones of one name keep their own figures from one look to the next`() {
    func snapshot(_ seconds: Int64, _ requests: [Int64]) -> Snapshot {
      var snapshot = Snapshot()
      snapshot.taken = seconds * 1_000_000_000
      snapshot.zones = requests.enumerated().map { instance, requests in
        var zone = ZoneSnapshot()
        zone.name = "twin"
        zone.instance = instance
        zone.allocations = requests
        return zone
      }
      return snapshot
    }
    let lines = ZoneTable().table(snapshot(2, [150, 1000]), since: snapshot(1, [100, 400])).lines()
    func row(_ name: String) -> Substring? {
      lines.map { $0.split(separator: " ") }.first { $0.first == Substring(name) }?.last
    }
    #expect(row("twin:") == "50")
    #expect(row("twin_1:") == "600")
  }
}
