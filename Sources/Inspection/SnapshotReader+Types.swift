// SPDX-License-Identifier: BSD-2-Clause
//
// The malloc types of a process: their list, and the table of large blocks by type. Both are bounded before they are believed (T13).

import Accounting
import CPlatform
import Pages

extension SnapshotReader {
  /// `zones` and the arena's figures have been read.
  func readTypes(_ root: RootCopy, into snapshot: inout Snapshot, _ copies: Copies) throws(InspectionError) {
    let state = root.part(TypesState.self, RootLayout.typesOffset)
    let limit = Int(STAVE_MAX_TYPES)
    guard Int(state.pointee.nextNumber) <= limit else { throw .damaged("more malloc types than there can be") }
    let classes = try HashClassLook(root)
    var listed: [TypeSnapshot] = []
    var next = UInt(bitPattern: state.pointee.first)
    var steps = 0
    while next != 0 {
      // Twice: types may begin meanwhile, and lead to those seen before.
      guard steps < 2 * limit else { throw .damaged("the list of malloc types has no end") }
      steps += 1
      let record = try copies.structure(Accounting.TypeRecord.self, at: next)
      var type = TypeSnapshot()
      type.name = withUnsafeBytes(of: record.pointee.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.printable
      type.instance = Int(record.pointee.instance)
      type.number = record.pointee.number
      type.failures = max(0, record.pointee.failures)
      type.limit = Int(max(0, record.pointee.limit))
      type.sleeps = max(0, record.pointee.sleeps)
      type.mark = TypeMark.of(record.pointee.name, instance: record.pointee.instance)
      type.hashClass = HashClass.index(of: record.pointee.name, offset: UInt32(truncatingIfNeeded: classes.offset), count: UInt32(classes.count))
      // A type that ends during the look may lead to one that has begun since: each number once.
      if type.number != 0, !listed.contains(where: { $0.number == type.number }) { listed.append(type) }
      next = UInt(bitPattern: record.pointee.next)
    }
    snapshot.fillTypes(
      listed.reversed(), largeTotals: try readLargeTotals(root, count: Int(state.pointee.nextNumber)),
      largeAllocations: Int64(clamping: root.part(Arena.self, RootLayout.arenaOffset).pointee.largeAllocations))
    guard snapshot.types.allSatisfy(\.isPlausible) else { throw .damaged("a malloc type's figures are beyond any address space") }
  }

  private func readLargeTotals(_ root: RootCopy, count: Int) throws(InspectionError) -> [UInt32: LargeCounts] {
    let address = UInt(bitPattern: root.part(Arena.self, RootLayout.arenaOffset).pointee.largeTotals)
    guard address != 0, count > 1 else { return [:] }
    let totals = try target.readArray(LargeTotals.self, at: address, count: count, limit: Int(STAVE_MAX_TYPES))
    var result: [UInt32: LargeCounts] = [:]
    let counts: ClosedRange<Int64> = 0...1 << 50
    for (number, large) in totals.enumerated() where counts ~= large.allocations && counts ~= large.frees && counts ~= large.allocatedBytes && counts ~= large.freedBytes {
      result[UInt32(number)] = (large.allocations, large.frees, large.allocatedBytes, large.freedBytes)
    }
    return result
  }
}

/// Of one type's large blocks.
typealias LargeCounts = (allocations: Int64, frees: Int64, allocatedBytes: Int64, freedBytes: Int64)

extension TypeSnapshot {
  var isPlausible: Bool {
    0...1 << 44 ~= used && 0...Snapshot.most ~= usedBytes && -(1 << 40)...1 << 62 ~= frees && 0...1 << 62 ~= allocations
  }
}
