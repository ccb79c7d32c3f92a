// SPDX-License-Identifier: BSD-2-Clause
//
// What it costs to allocate and free again at once, 64 and 256 bytes: from a zone, as memory and as an owned item; from malloc, whichever
// this process has; and as an object of a class. In turns, so that what else the machine does falls on all alike; the median of the
// turns counts. With another malloc: LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 .build/release/zone-speed
//
//   zone-speed [COUNT]                                     all in turns, COUNT in each
//   zone-speed zone|item|malloc|class 16|64|256|1024 COUNT one of them once, for Benchmarks

import Glibc
import Stave

func nanoseconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
}

func rounded(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }

func compare(_ ways: [Way], _ count: Int) {
  var samples = [[Double]](repeating: [], count: ways.count)
  for turn in 0..<25 {
    for (index, way) in ways.enumerated() {
      let start = nanoseconds()
      way.run(count)
      if turn > 0 { samples[index].append((nanoseconds() - start) / Double(count)) }
    }
  }
  let medians = samples.map { $0.sorted()[$0.count / 2] }
  for (index, way) in ways.enumerated() {
    let zone = medians[index / 4 * 4]
    print("\(way.name): \(rounded(medians[index])) ns, \(rounded(medians[index] / zone)) times the zone's")
  }
}

let words = Array(CommandLine.arguments.dropFirst())
let small = try Zone<Words<8>>("small"), large = try Zone<Words<32>>("large")
let usual = Way.all(small, Words(), objects: objects64) + Way.all(large, Words(), objects: objects256)
if words.count == 3, let count = Int(words[2]) {
  let tiny = try Zone<Words<2>>("tiny"), huge = try Zone<Words<128>>("huge")
  let all = Way.all(tiny, Words(), objects: objects16) + usual + Way.all(huge, Words(), objects: objects1024)
  guard let way = all.first(where: { $0.name == "\(words[0]) \(words[1])" }) else { fatalError("no such way: \(words)") }
  way.run(1000)
  let start = nanoseconds()
  way.run(count)
  print("ops \(count)\nns \(Int(nanoseconds() - start))")
} else {
  compare(usual, words.first.flatMap(Int.init) ?? 200_000)
}
