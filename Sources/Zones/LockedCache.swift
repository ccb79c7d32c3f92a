// SPDX-License-Identifier: BSD-2-Clause
//
// The four operations on a cell under the region's lock: the same results and the same counts as the restartable sections.
// A thread may have been moved to another CPU since it asked where it is: the lock makes any region safe to use.

import CPlatform
import Primitives

extension CPUCache {
  @inline(__always)
  private static func withLockedCell<Result>(_ cell: Int, otherwise: Result, _ body: (CellPointer) -> Result) -> Result {
    guard let cpu = currentCPU, let cells = cells(of: cpu) else { return otherwise }
    lock(of: cells).pointee.lock()
    defer { lock(of: cells).pointee.unlock() }
    return isPassedBy ? otherwise : body(cells + cell)
  }

  static func lockedPop(_ index: Int) -> UnsafeMutableRawPointer? {
    withLockedCell(index, otherwise: nil) { cell in
      let fill = Int(cell.pointee.word & 0xffff)
      guard fill > 0 else { return nil }
      let item = cell.pointee.slots![fill - 1]
      cell.pointee.word &+= 0xffff
      return UnsafeMutableRawPointer(bitPattern: item)
    }
  }

  static func lockedPush(_ index: Int, _ item: UnsafeMutableRawPointer) -> Push {
    withLockedCell(index, otherwise: .full) { cell in
      let fill = Int(cell.pointee.word & 0xffff)
      guard fill < Int(cell.pointee.capacity) else { return .full }
      guard cell.pointee.slots![fill - 1] != item.address else { return .again }
      cell.pointee.slots![fill] = item.address
      cell.pointee.word &+= 1
      return .pushed
    }
  }

  static func lockedFill(_ index: Int, from items: UnsafePointer<UInt>, count: Int) -> Int {
    withLockedCell(index, otherwise: 0) { cell in
      let fill = Int(cell.pointee.word & 0xffff)
      let moving = max(0, min(count, Int(cell.pointee.capacity) - fill))
      for position in 0..<moving { cell.pointee.slots![fill + position] = items[position] }
      cell.pointee.word &+= UInt64(moving)
      cell.pointee.moved -= Int64(moving)
      return moving
    }
  }

  static func lockedFlush(_ index: Int, to items: UnsafeMutablePointer<UInt>, count: Int) -> Int {
    withLockedCell(index, otherwise: 0) { cell in
      let fill = Int(cell.pointee.word & 0xffff)
      let moving = min(count, fill)
      for position in 0..<moving { items[position] = cell.pointee.slots![fill - moving + position] }
      cell.pointee.word &-= UInt64(moving)
      cell.pointee.moved += Int64(moving)
      return moving
    }
  }
}
