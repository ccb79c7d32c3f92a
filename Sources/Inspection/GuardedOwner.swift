// SPDX-License-Identifier: BSD-2-Clause
//
// Whose an address among those of guarded blocks is, by the records that MemGuard keeps of them until it uses their addresses again.

import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension SnapshotReader {
  /// Nil where the address is not in the range of guarded blocks. Of one that belongs to no block, live or freed, only that it is.
  func guardedOwner(of address: UInt, _ root: RootCopy, _ copies: Copies) throws(InspectionError) -> AddressOwner? {
    let state = root.part(MemGuard.self, RootLayout.memguardOffset), page = UInt(root.part(RootHeader.self, 0).pointee.pageBytes)
    let range = AddressRange(start: state.pointee.start, end: state.pointee.start &+ state.pointee.bytes)
    guard page > 0, range.contains(address) else { return nil }
    var owner = AddressOwner(address: address, root: name, kind: .guards)
    // Of addresses that were never used the table has no pages.
    let number = (try? target.read(UInt32.self, at: state.pointee.tableAddress &+ (address - range.start) / page &* 4)) ?? 0
    guard number > 0, number < state.pointee.records else { return owner }
    let perChunk = UInt(GuardedBlock.perChunk)
    let chunk = try target.read(UInt.self, at: state.pointee.chunksAddress &+ UInt(number) / perChunk &* 8)
    let block = try target.read(GuardedBlock.self, at: chunk &+ UInt(number) % perChunk &* UInt(MemoryLayout<GuardedBlock>.stride))
    let isOut = GuardedState.isOut(block.state)
    guard isOut || [GuardedState.freed, GuardedState.closing, GuardedState.lost].contains(block.state), range.contains(block.address), block.size <= range.end - block.address else { return owner }
    owner.kind = .guarded
    (owner.start, owner.bytes, owner.state) = (block.address, Int(block.size), isOut ? .used : .freed)
    (owner.allocationStack, owner.freeStack) = (block.allocationStack, isOut ? 0 : block.freeStack)
    // A number may be another zone's or another type's by now.
    if block.zone == 0 {
      (owner.type, owner.typeHash) = (block.type, block.typeHash)
    } else {
      for place in try findZones(root, try readRegions(root), copies) where owner.zones.isEmpty {
        let keg = try copies.structure(Keg.self, at: place.identity.keg)
        guard UInt32(keg.pointee.index) == block.zone, keg.pointee.name.hash == block.typeHash else { continue }
        owner.zones = [withUnsafeBytes(of: keg.pointee.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.printable]
      }
    }
    return owner
  }
}
