// SPDX-License-Identifier: BSD-2-Clause
//
// The ways to have memory for a moment, each as a loop: allocate, write a word, free. Sizes are of values; 16 bytes of an object are
// Swift's.

import Glibc
import Stave

struct Words<let count: Int> { var words = InlineArray<count, Int>(repeating: 0) }

final class Object16 {}
final class Object64 { var first = 0, words = InlineArray<5, Int>(repeating: 0) }
final class Object256 { var first = 0, words = InlineArray<29, Int>(repeating: 0) }
final class Object1024 { var first = 0, words = InlineArray<125, Int>(repeating: 0) }

/// Where the compiler cannot see that nobody reads it.
nonisolated(unsafe) var seen: UnsafeMutableRawPointer?

@inline(__always) func touch(_ memory: UnsafeMutableRawPointer, _ index: Int) {
  memory.storeBytes(of: index, as: Int.self)
  seen = memory
}

@inline(never) func memoryOfZone<Element>(_ zone: Zone<Element>, _ count: Int) {
  for index in 0..<count {
    let memory = zone.allocate()!
    touch(memory, index)
    zone.free(memory)
  }
}

@inline(never) func itemsOfZone<Element>(_ zone: Zone<Element>, _ value: Element, _ count: Int) {
  for index in 0..<count {
    let item = zone.item(value)!
    touch(item.address, index)
  }
}

@inline(never) func blocksOfMalloc(_ size: Int, _ count: Int) {
  for index in 0..<count {
    let memory = malloc(size)!
    touch(memory, index)
    free(memory)
  }
}

@inline(never) func objects16(_ count: Int) {
  for _ in 0..<count { seen = Unmanaged.passUnretained(Object16()).toOpaque() }
}

@inline(never) func objects64(_ count: Int) {
  for index in 0..<count {
    let object = Object64()
    object.first = index
    seen = Unmanaged.passUnretained(object).toOpaque()
  }
}

@inline(never) func objects256(_ count: Int) {
  for index in 0..<count {
    let object = Object256()
    object.first = index
    seen = Unmanaged.passUnretained(object).toOpaque()
  }
}

@inline(never) func objects1024(_ count: Int) {
  for index in 0..<count {
    let object = Object1024()
    object.first = index
    seen = Unmanaged.passUnretained(object).toOpaque()
  }
}

struct Way {
  var name: String
  var run: (Int) -> Void

  /// The four ways of a size.
  static func all<Element>(_ zone: Zone<Element>, _ value: Element, objects: @escaping (Int) -> Void) -> [Way] {
    let size = MemoryLayout<Element>.size
    return [
      Way(name: "zone \(size)") { memoryOfZone(zone, $0) }, Way(name: "item \(size)") { itemsOfZone(zone, value, $0) },
      Way(name: "malloc \(size)") { blocksOfMalloc(size, $0) }, Way(name: "class \(size)", run: objects),
    ]
  }
}
