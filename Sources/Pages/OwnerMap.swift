// SPDX-License-Identifier: BSD-2-Clause
//
// Address → owner, without a lock, for any 64-bit value. Two tables run beside the arena's window: `unit_cell` (16 bits per
// unit of 64 KiB, in the hot storage) leads free() straight to the cache cell of the unit's items; `owners` (a word per half
// unit) says who owns the place. Slabs own whole units; a large block begins at some page and is longer than half a unit, so
// that no two begin in one half. Both tables are reserved at start and touched only where the arena has grown.
//
//   owner word     meaning
//   0              nobody: foreign, free memory of the arena, or a later part of a large block (ask the arena's map)
//   pointer        the slab whose items lie in the unit
//   pointer | 1    the map entry of the large block that begins in this half

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

  var cells: UnsafeMutablePointer<UInt16>?
  var firstUnit: UInt
  /// Units whose entries can be read and written: as far as the arena has ever reached.
  var unitCount: UInt

  /// Reserves both tables for `units` units from `firstUnit` on: 18 bytes of address space per unit, no memory yet.
  mutating func start(firstUnit first: UInt, units: UInt) -> Bool {
    let cellBytes = (Int(units) * 2).roundedUp(to: pageBytes)
    let result = stave_mmap(0, cellBytes + Int(units) * 16, 0, mapPrivateAnonymous | mapNoReserve)
    guard result > 0 else { return false }
    nameMapping(UInt(bitPattern: result), bytes: cellBytes + Int(units) * 16, "stave:map")
    cells = UnsafeMutablePointer(bitPattern: result)
    owners = UnsafeMutablePointer(bitPattern: result + cellBytes)
    firstUnit = first
    unitCount = 0
    stave_hot().pointee.unit_cell = cells
    stave_set_first_unit(UInt32(first))
    return true
  }

  /// Makes the entries of all units below `end` usable. False if the system refuses. Under the arena's lock.
  mutating func cover(upTo end: UInt) -> Bool {
    let page = UInt(pageBytes)
    let units = ((end + unitBytes - 1) >> unitShift) - firstUnit
    guard units > unitCount else { return true }
    func open(_ table: UInt, _ entryBytes: UInt) -> Bool {
      let from = (table + unitCount * entryBytes).roundedDown(to: page)
      let to = (table + units * entryBytes + page - 1).roundedDown(to: page)
      return stave_mprotect(from, Int(to - from), protectionReadWrite) == 0
    }
    guard open(UInt(bitPattern: cells), 2), open(UInt(bitPattern: owners), 16) else { return false }
    unitCount = units
    publish()
    return true
  }

  /// Lets free()'s fast path use the map, unless caches are locked: there every operation takes the slow path.
  func publish() {
    stave_hot().pointee.unit_count = root.pointee.mode == CacheMode.restartable ? UInt64(unitCount) : 0
  }

  /// The unit's place in the tables, nil for addresses outside what is covered.
  @inline(__always)
  func index(of address: UInt) -> Int? {
    let unit = address >> unitShift &- firstUnit
    return unit < unitCount ? Int(unit) : nil
  }

  /// One load. Any address may be asked about.
  @inline(__always)
  public func owner(of address: UInt) -> Owner {
    guard let index = index(of: address), let owners else { return .none }
    let word = owners[index * 2 + Int(address >> (unitShift - 1) & 1)]
    guard let pointer = UnsafeMutableRawPointer(bitPattern: word & ~3) else { return .none }
    return word & 1 == 0 ? .slab(pointer) : .large(pointer)
  }

  /// `slab` owns the unit, and free() finds its items' cell at `cellOffset` (0: free() must take the slow path).
  public func set(unitOf address: UInt, slab: UnsafeMutableRawPointer, cellOffset: UInt16) {
    guard let index = index(of: address), let owners else { return }
    owners[index * 2] = slab.address
    owners[index * 2 + 1] = slab.address
    cells![index] = cellOffset
  }

  /// A large block begins at `address`, or none any more (nil). One word, however large it is.
  public func set(startOf address: UInt, large: UnsafeMutableRawPointer?) {
    guard let index = index(of: address), let owners else { return }
    owners[index * 2 + Int(address >> (unitShift - 1) & 1)] = large.map { $0.address | 1 } ?? 0
  }

  /// The units of a slab have no owner any more.
  public func clear(unitsOf address: UInt, bytes: UInt) {
    guard let first = index(of: address), let owners else { return }
    let count = Int((bytes + unitBytes - 1) >> unitShift)
    var index = first
    while index < first + count {
      cells![index] = 0
      owners[index * 2] = 0
      owners[index * 2 + 1] = 0
      index += 1
    }
  }

  /// Both halves of a slab's unit name it, and only slabs have a cell. At rest only: no lock is taken.
  public func checkInvariants() {
    guard let owners, let cells else { return }
    var index = 0
    while index < Int(unitCount) {
      let low = owners[index * 2]
      let high = owners[index * 2 + 1]
      if low != 0 && low & 1 == 0 {
        precondition(high == low, "half a unit belongs to a slab")
      } else {
        precondition(high == 0 || high & 1 == 1, "half a unit belongs to a slab")
        precondition(cells[index] == 0, "a cell for a unit without a slab")
      }
      index += 1
    }
  }
}
