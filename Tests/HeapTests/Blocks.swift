// SPDX-License-Identifier: BSD-2-Clause
//
// Filling blocks, looking whether they are as they were, and counting what is live.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

func fill(_ block: UnsafeMutableRawPointer, _ bytes: Int, _ value: UInt8) {
  block.initializeMemory(as: UInt8.self, repeating: value, count: bytes)
}

func holds(_ block: UnsafeMutableRawPointer, _ bytes: Int, _ value: UInt8) -> Bool {
  var offset = 0
  while offset < bytes {
    if block.load(fromByteOffset: offset, as: UInt8.self) != value { return false }
    offset += offset < 256 ? 1 : offset < 16384 ? 61 : 4099
  }
  return bytes == 0 || block.load(fromByteOffset: bytes - 1, as: UInt8.self) == value
}

func freeAll(_ blocks: [UnsafeMutableRawPointer]) { for block in blocks { Heap.free(block) } }

/// Live items of malloc's zones, and bytes of large blocks.
func live() -> (items: Int, large: UInt) {
  var items = 0
  for index in 0..<SizeClass.count {
    if let zone = heap.pointee.classZones[index] { items += used(zone) }
  }
  return (items, arena.pointee.largeBytes)
}
