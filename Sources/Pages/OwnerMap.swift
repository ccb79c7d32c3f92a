// SPDX-License-Identifier: BSD-2-Clause
//
// Address → owner, without a lock, for any 64-bit value. Two tables run beside the arena's window, one entry per unit of
// 64 KiB: `unit_cell` (16 bits, in the hot storage) leads free() straight to the cache cell of the unit's items, and
// `owners` (a word) says who owns the unit. Both are reserved at start and touched only where the arena has grown.
//
//   owner word     meaning
//   0              nobody: foreign, free memory of the arena, or a later unit of a large block (ask the arena's map)
//   pointer        the slab whose items lie in the unit
//   pointer | 1    the map entry of the large block that begins at the unit's start

import CPlatform
import Primitives

public enum Owner {
  case none
  case slab(UnsafeMutableRawPointer)
  case large(UnsafeMutableRawPointer)
}

/// The one owner map of this core.
@inline(__always)
public var ownerMap: UnsafeMutablePointer<OwnerMap> { rootState(OwnerMap.self, at: RootLayout.ownersOffset) }

public struct OwnerMap {
  public var owners: UnsafeMutablePointer<UInt>?

  /// Reserves both tables for `units` units from `firstUnit` on. Address space: 10 bytes per unit.
  mutating func start(firstUnit: UInt, units: UInt) -> Bool {
    guard let cells = mapAnonymous(bytes: Int(units) * 2, name: "stave:map"),
      let words = mapAnonymous(bytes: Int(units) * 8, name: "stave:map")
    else { return false }
    owners = UnsafeMutablePointer(bitPattern: words)
    let hot = stave_hot()
    hot.pointee.unit_cell = UnsafeMutablePointer(bitPattern: cells)
    hot.pointee.first_unit = UInt64(firstUnit)
    hot.pointee.unit_count = UInt64(units)
    return true
  }

  /// The unit's place in the tables, nil for addresses outside the window.
  @inline(__always)
  func index(of address: UInt) -> Int? {
    let unit = address >> unitShift &- UInt(stave_hot().pointee.first_unit)
    return unit < UInt(stave_hot().pointee.unit_count) ? Int(unit) : nil
  }

  /// One load. Any address may be asked about.
  @inline(__always)
  public func owner(of address: UInt) -> Owner {
    guard let index = index(of: address), let owners else { return .none }
    let word = owners[index]
    guard let pointer = UnsafeMutableRawPointer(bitPattern: word & ~3) else { return .none }
    return word & 1 == 0 ? .slab(pointer) : .large(pointer)
  }

  /// `slab` owns the unit, and free() finds its items' cell at `cellOffset` (0: free() must take the slow path).
  public func set(unitOf address: UInt, slab: UnsafeMutableRawPointer, cellOffset: UInt16) {
    guard let index = index(of: address), let owners else { return }
    owners[index] = slab.address
    stave_hot().pointee.unit_cell![index] = cellOffset
  }

  /// A large block begins at `address`. One word, however large it is.
  public func set(unitOf address: UInt, large: UnsafeMutableRawPointer) {
    guard let index = index(of: address), let owners else { return }
    owners[index] = large.address | 1
  }

  public func clear(unitsOf address: UInt, bytes: UInt) {
    guard let first = index(of: address), let owners else { return }
    let count = Int((bytes + unitBytes - 1) >> unitShift)
    var index = first
    while index < first + count {
      stave_hot().pointee.unit_cell![index] = 0
      owners[index] = 0
      index += 1
    }
  }
}
