// SPDX-License-Identifier: BSD-2-Clause
//
// Sums of blocks by malloc type, and by type and the stack that asked for them: a hash table on metadata pages, for a report at a
// moment when nothing may be allocated. What does not fit any more is summed up as one.

import CPlatform
import Pages
import Primitives

struct BlockGroup {
  /// 0 for the sum of a type's.
  var stack: UInt32
  var type: UInt32
  /// 0 for a place that is free.
  var blocks: Int64
  var bytes: Int64
}

struct BlockGroups {
  private var places: UnsafeMutablePointer<BlockGroup>
  /// Without a place.
  var others = BlockGroup(stack: 0, type: 0, blocks: 0, bytes: 0)
  /// The sum of what has been added for types.
  private(set) var ofTypes = BlockGroup(stack: 0, type: 0, blocks: 0, bytes: 0)
  private var used = 0

  private let bytes: Int
  private let count: Int

  /// Nil if the system refuses the memory. A single page, with room for some hundred groups, is one that was used before.
  init?(pages: Int) {
    bytes = pages * pageBytes
    count = bytes / MemoryLayout<BlockGroup>.stride
    guard let memory = metadataPages.allocate(bytes: bytes) else { return nil }
    places = memory.assumingMemoryBound(to: BlockGroup.self)
  }

  func discard() { metadataPages.free(UnsafeMutableRawPointer(places), bytes: bytes) }

  var isEmpty: Bool { used == 0 && others.blocks == 0 }

  @inline(never)
  mutating func add(stack: UInt32, type: UInt32, blocks: Int64, bytes: Int64) {
    guard blocks > 0 else { return }
    if stack == 0 {
      ofTypes.blocks += blocks
      ofTypes.bytes += bytes
    }
    var place = Int(truncatingIfNeeded: (UInt64(stack) << 16 ^ UInt64(type)) &* 0x9e37_79b9_7f4a_7c15 >> 40) % count
    while places[place].blocks != 0 && (places[place].stack != stack || places[place].type != type) { place = (place + 1) % count }
    if places[place].blocks == 0 {
      guard used < count * 3 / 4 else {
        others.blocks += blocks
        others.bytes += bytes
        return
      }
      used += 1
      places[place].stack = stack
      places[place].type = type
    }
    places[place].blocks += blocks
    places[place].bytes += bytes
  }

  /// Calls `body` with the `most` that have the most bytes, those of types or those of stacks, the largest first. Returns what the
  /// others come to, without a type. Each is given once.
  func forEachLargest(_ most: Int, ofStacks: Bool, _ body: (BlockGroup) -> Void) -> BlockGroup {
    var rest = BlockGroup(stack: 0, type: 0, blocks: 0, bytes: 0)
    var given = 0
    while given < most {
      var largest = -1
      for place in 0..<count where places[place].blocks > 0 && (places[place].stack != 0) == ofStacks {
        if largest < 0 || places[place].bytes > places[largest].bytes { largest = place }
      }
      guard largest >= 0 else { break }
      body(places[largest])
      places[largest].blocks = -places[largest].blocks
      given += 1
    }
    for place in 0..<count where places[place].blocks > 0 && (places[place].stack != 0) == ofStacks {
      rest.blocks += places[place].blocks
      rest.bytes += places[place].bytes
    }
    return rest
  }
}
