// SPDX-License-Identifier: BSD-2-Clause
//
// What it costs to allocate and free again at once, 64 and 256 bytes: from a zone, as memory and as an owned item; from malloc, whichever
// this process has; and as an object of a class. In turns, so that what else the machine does falls on all alike; the median of the
// turns counts. With another malloc: LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 .build/release/zone-speed

import Glibc
import Stave

struct Small { var words = InlineArray<8, Int>(repeating: 0) }
struct Large { var words = InlineArray<32, Int>(repeating: 0) }

/// 16 bytes of each object are Swift's.
final class SmallObject { var first = 0, words = InlineArray<5, Int>(repeating: 0) }
final class LargeObject { var first = 0, words = InlineArray<29, Int>(repeating: 0) }

/// Where the compiler cannot see that nobody reads it.
nonisolated(unsafe) var seen: UnsafeMutableRawPointer?

func nanoseconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
}

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

@inline(never) func smallObjects(_ count: Int) {
  for index in 0..<count {
    let object = SmallObject()
    object.first = index
    seen = Unmanaged.passUnretained(object).toOpaque()
  }
}

@inline(never) func largeObjects(_ count: Int) {
  for index in 0..<count {
    let object = LargeObject()
    object.first = index
    seen = Unmanaged.passUnretained(object).toOpaque()
  }
}

let small = try Zone<Small>("small"), large = try Zone<Large>("large")
let count = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 200_000 : 200_000
let ways: [(name: String, run: (Int) -> Void)] = [
  ("zone 64", { memoryOfZone(small, $0) }), ("item 64", { itemsOfZone(small, Small(), $0) }), ("malloc 64", { blocksOfMalloc(64, $0) }),
  ("class 64", smallObjects),
  ("zone 256", { memoryOfZone(large, $0) }), ("item 256", { itemsOfZone(large, Large(), $0) }), ("malloc 256", { blocksOfMalloc(256, $0) }),
  ("class 256", largeObjects),
]
var samples = [[Double]](repeating: [], count: ways.count)
for turn in 0..<25 {
  for (index, way) in ways.enumerated() {
    let start = nanoseconds()
    way.run(count)
    if turn > 0 { samples[index].append((nanoseconds() - start) / Double(count)) }
  }
}
func rounded(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }
let medians = samples.map { $0.sorted()[$0.count / 2] }
for (index, way) in ways.enumerated() {
  let zone = medians[index / 4 * 4]
  print("\(way.name): \(rounded(medians[index])) ns, \(rounded(medians[index] / zone)) times the zone's")
}
