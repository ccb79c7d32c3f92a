// SPDX-License-Identifier: BSD-2-Clause
//
// A process with two copies of Stave: the tests' own core, as a program's own, and libstave.so, loaded into it. Needs `make` first.

import CPlatform
import Foundation
import Testing

@testable import Exporters
@testable import Inspection
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// In a child: loads the library beside the tests' core, which has a zone with 100 items out. False where it is not there.
private func loadTwoCopies() -> (ZonePointer, [UnsafeMutableRawPointer])? {
  root.pointee.isOwn = 1
  Stage.up()
  let zone = makeZone(name: FixedName("own-zone"), size: 1000)!
  let items = (0..<100).map { _ in zone.allocate()! }
  guard dlopen(Place.builtLibrary, RTLD_NOW) != nil else { return nil }
  return (zone, items)
}

private func demand(_ isTrue: Bool, _ what: String) {
  guard !isTrue else { return }
  print("FAILED: \(what)")
  exit(9)
}

/// Of the library's copy, where its own function says that it is not ours.
private func blockOfLibrary() -> UInt {
  let handle = dlopen(Place.builtLibrary, RTLD_NOW | RTLD_NOLOAD)
  typealias Malloc = @convention(c) (Int) -> UnsafeMutableRawPointer?
  return UInt(bitPattern: unsafeBitCast(dlsym(handle, "malloc"), to: Malloc.self)(100))
}

@Suite(.enabled(if: access(Place.builtLibrary, R_OK) == 0, "make builds the library")) struct RootsTests {
  @Test func `all copies of Stave in a process are read, each with its sum`() async {
    await #expect(processExitsWith: .success) {
      guard let (zone, _) = loadTwoCopies() else { return }
      _ = blockOfLibrary()
      let target = try LiveProcess(process: getpid())
      let all = try ProcessReader(target)
      // Neither serves malloc, which is libc's: then the program's own comes first.
      demand(all.readers.count == 2 && all.readers[1].name == "libstave.so", "names: \(all.readers.map(\.name))")
      let snapshot = try all.look(), own = all.readers[0].name
      demand(snapshot.roots.map(\.servesMalloc) == [false, false] && snapshot.roots.map(\.name) == [own, "libstave.so"], "what they serve")
      demand(snapshot.zones.contains { $0.label == "own-zone" && $0.used == 100 }, "the zone of the program's own")
      demand(snapshot.zones.contains { $0.label == "libstave.so/malloc-112" && $0.used >= 1 }, "the library's zone")
      for one in snapshot.roots {
        demand(one.used + one.cached + one.holes + one.inTransit + one.metadata + one.purgeable + one.returned == one.mapped, "a sum that closes")
      }
      demand(snapshot.mapped == snapshot.roots.reduce(0) { $0 + $1.mapped } && snapshot.used == snapshot.roots.reduce(0) { $0 + $1.used }, "the total")
      let lines = RootTable.lines(snapshot)
      demand(lines.count == 4 && lines[2].hasPrefix("libstave.so") && lines[3].hasPrefix("total"), "\(lines)")
      // One alone, with names as if there were no other; and none of a name that nothing has.
      let alone = try ProcessReader(target, root: "libstave.so").look()
      demand(alone.roots.count == 1 && alone.zones.contains { $0.label == "malloc-112" } && RootTable.lines(alone).isEmpty, "one root")
      demand((try? ProcessReader(target, root: "libelse.so")) == nil, "an unknown name")
      demand(try SnapshotReader(target).name == own, "the first")
      // What is named in streams, lists and controls is told apart.
      let list = StatisticsList()
      list.fill(from: snapshot)
      demand(list.find(.zone, "libstave.so/malloc-112") != nil && list.find(.zone, "own-zone")?.count == 100, "the list")
      demand(OpenMetrics.text(snapshot).contains("stave_zone_used_items{zone=\"libstave.so/malloc-112\"}"), "metrics")
      demand(ZoneTable().json(snapshot).description.contains("\"name\":\"malloc-112\",\"instance\":0,\"root\":\"libstave.so\""), "JSON")
      zone.setLimit(0)
    }
  }

  @Test func `an address is found in whichever copy has it`() async {
    await #expect(processExitsWith: .success) {
      guard let (zone, items) = loadTwoCopies() else { return }
      let block = blockOfLibrary(), target = try LiveProcess(process: getpid())
      let all = try ProcessReader(target), snapshot = try all.look()
      func owners(_ address: UInt) throws -> [AddressOwner] { try all.readers.compactMap { reader in try reader.owner(of: address) } }
      let ours = try owners(UInt(bitPattern: items[7]) + 24)
      demand(ours.count == 1 && ours[0].root == all.readers[0].name && ours[0].zones == ["own-zone"] && ours[0].kind == .item, "our item: \(ours)")
      demand(ours[0].start == UInt(bitPattern: items[7]) && ours[0].bytes == 1000 && ours[0].state == .used, "our item: \(ours)")
      demand(AddressReport.line(ours[0], snapshot).contains("24 bytes into the item at") && AddressReport.line(ours[0], snapshot).contains("in use, in zone own-zone"), "said")
      zone.free(items[7])
      demand(try owners(UInt(bitPattern: items[7])).first?.state == .cached, "an item in a cache")
      let theirs = try owners(block)
      demand(theirs.count == 1 && theirs[0].root == "libstave.so" && theirs[0].zones == ["malloc-112"], "malloc's block: \(theirs)")
      demand(try owners(UInt(bitPattern: stave_root_storage())).isEmpty, "nobody's")
    }
  }

  @Test func `what another copy of Stave owns is no zone's to free, and the report names the owner`() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      guard let (zone, _) = loadTwoCopies() else { abort() }
      zone.free(UnsafeMutableRawPointer(bitPattern: blockOfLibrary()))
      zone.reclaim(.drainCPU)
    }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(text.contains("; it is of zone malloc-112 of another copy of stave, in \(Place.builtLibrary), freed to zone own-zone"), "\(text)")
  }
}
