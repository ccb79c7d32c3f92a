// SPDX-License-Identifier: BSD-2-Clause
//
// A map that comes to end earlier.

extension AddressMap {
  /// The map ends at `address` from now on. False, and nothing changes, if an entry reaches beyond it, or if it lies outside the
  /// map. O(log n).
  public mutating func lowerMaximum(to address: UInt) -> Bool {
    guard address > minimum, address <= maximum, last?.pointee.end ?? minimum <= address else { return false }
    maximum = address
    if let last { setGap(last, address - last.pointee.end) }
    findFirstFree()
    version &+= 1
    return true
  }
}
