// SPDX-License-Identifier: BSD-2-Clause
//
// Large blocks counted by malloc type: a record for each type's number, under the arena's lock. Memory without a type (number 0)
// is not counted here; it is what the arena counts in all, less these.

import AddressMap
import CPlatform
import Primitives

public struct LargeTotals: BitwiseCopyable {
  public var allocations: Int64 = 0
  public var frees: Int64 = 0
  public var allocatedBytes: Int64 = 0
  public var freedBytes: Int64 = 0

  public init() {}

  /// Nothing is out.
  public var isEmpty: Bool { allocations == frees }
}

extension UnsafeMutablePointer where Pointee == Arena {
  /// From here on large blocks are counted by type too. False if there is no memory for the table: 32 bytes for each number.
  public func countLargeByType() -> Bool {
    if pointee.largeTotals != nil { return true }
    let bytes = Int(STAVE_MAX_TYPES) * MemoryLayout<LargeTotals>.stride
    guard let table = metadataPages.allocate(bytes: bytes.roundedUp(to: pageBytes)) else { return false }
    pointee.lock.lock()
    pointee.largeTotals = table.assumingMemoryBound(to: LargeTotals.self)
    pointee.lock.unlock()
    return true
  }

  public func largeTotals(of type: UInt32) -> LargeTotals {
    guard let table = pointee.largeTotals, type < UInt32(STAVE_MAX_TYPES) else { return LargeTotals() }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    return table[Int(type)]
  }

  /// The number is to be another type's.
  public func resetLarge(of type: UInt32) {
    guard let table = pointee.largeTotals else { return }
    pointee.lock.lock()
    table[Int(type)] = LargeTotals()
    pointee.lock.unlock()
  }

  // MARK: - Under the lock

  func countTyped(_ entry: EntryPointer, _ bytes: UInt, _ sign: Int) {
    guard entry.pointee.owner != 0, let totals = pointee.largeTotals else { return }
    let record = totals + Int(entry.pointee.owner)
    if sign > 0 {
      record.pointee.allocations += 1
      record.pointee.allocatedBytes += Int64(bytes)
    } else {
      record.pointee.frees += 1
      record.pointee.freedBytes += Int64(bytes)
    }
  }

  /// A block that changes its size is no request, but its bytes are.
  func countResized(_ entry: EntryPointer, from old: UInt, to new: UInt) {
    guard entry.pointee.owner != 0, let totals = pointee.largeTotals else { return }
    let record = totals + Int(entry.pointee.owner)
    if new > old { record.pointee.allocatedBytes += Int64(new - old) } else { record.pointee.freedBytes += Int64(old - new) }
  }
}
