// SPDX-License-Identifier: BSD-2-Clause
//
// All slabs and all large blocks, from inside the process: under the arena's lock, so that none of their memory goes meanwhile. What is
// done with each must be short, and take no lock but those of metadata.

import AddressMap
import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Arena {
  /// Calls `slab` with each slab's header and `large` with each large block's start, bytes and malloc type. Items may be taken and freed
  /// meanwhile. False, and nothing done, if the lock cannot be had for a second: at a process's end a thread may have died with it.
  public func forEachBlock(slab: (UnsafeMutableRawPointer) -> Void, large: (UInt, UInt, UInt32) -> Void) -> Bool {
    guard pointee.lock.lockWithinASecond() else { return false }
    defer { pointee.lock.unlock() }
    var address = pointee.windowStart
    var last: UnsafeMutableRawPointer? = nil
    while address < pointee.frontier {
      if case .slab(let header) = ownerMap.pointee.owner(of: address), header != last {
        last = header
        slab(header)
      }
      address += unitBytes / 2
    }
    var next = pointee.map.first
    while let entry = next {
      if entry.pointee.kind == RangeKind.large && entry.pointee.wordB != Self.contiguous {
        large(entry.pointee.start, entry.pointee.wordA, UInt32(entry.pointee.owner))
      }
      next = pointee.map.entry(after: entry)
    }
    return true
  }
}
