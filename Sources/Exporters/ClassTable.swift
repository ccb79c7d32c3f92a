// SPDX-License-Identifier: BSD-2-Clause
//
// The table of size classes that would waste least on a histogram of requests. Classes end where requests do, at multiples of 16:
// a class between two sizes that are asked for could be lowered and waste less. With W[k][j] the least waste of the first j sizes
// in k classes, of which the last one ends at size j:
//
//   W[k][j] = min over i < j of W[k-1][i] + waste of the sizes i+1…j in one class of size j
//
// The best i does not fall when j grows (a class wastes no less the farther its sizes lie below it), so each row is found by
// halving: the best i of the middle j bounds those on both sides. Cost: classes × sizes × log sizes, some milliseconds for all of
// 2,048 sizes.

import Inspection

public struct ClassTable: Equatable, Sendable {
  /// Least first.
  public var sizes: [Int]
  /// Bytes that it would give beyond those asked for.
  public var wasted: Int

  public init(sizes: [Int], wasted: Int) { (self.sizes, self.wasted) = (sizes, wasted) }

  /// The best one of at most `count` classes, of which the last is `largest`. Fewer if more would save nothing. `count`: at least 1.
  /// All of the histogram's sizes are at most `largest`.
  public init(for requests: [SizeCounts], count: Int, largest: Int) {
    // By the class that each would like best; size 0 wants the smallest there is.
    var points: [(size: Int, requests: Int, asked: Int)] = []
    for one in requests where one.requests > 0 {
      let size = max(ClassTable.step, one.most)
      if points.last?.size == size {
        points[points.count - 1].requests += one.requests
        points[points.count - 1].asked += one.asked
      } else {
        points.append((size, one.requests, one.asked))
      }
    }
    // One class has to be the largest, whether anybody asks for it or not.
    if points.last?.size != largest { points.append((largest, 0, 0)) }
    let sums = Sums(points)
    let rows = min(max(1, count), points.count)
    var best = (0...points.count).map { $0 == 0 ? 0 : sums.waste(from: 0, to: $0) }
    var choices: [[Int]] = []
    for row in 1..<max(1, rows) {
      var next = best
      var choice = [Int](repeating: 0, count: points.count + 1)
      ClassTable.fill(&next, &choice, row + 1...points.count, row...points.count, best, sums)
      choices.append(choice)
      best = next
    }
    wasted = best[points.count]
    sizes = []
    var end = points.count
    for choice in choices.reversed() {
      sizes.append(points[end - 1].size)
      end = choice[end]
    }
    sizes.append(points[end - 1].size)
    sizes.reverse()
  }

  /// What classes lie apart, at the least.
  static var step: Int { 16 }

  /// Bytes beyond those asked for if the classes were `sizes`; a request above all of them counts for nothing.
  public static func waste(of requests: [SizeCounts], in sizes: [Int]) -> Int {
    var place = 0
    return requests.reduce(0) { sum, one in
      while place < sizes.count && sizes[place] < one.most { place += 1 }
      return place < sizes.count ? sum + one.requests * sizes[place] - one.asked : sum
    }
  }

  /// W[k][j] for all j in `ends`, whose best i are in `starts`.
  private static func fill(
    _ next: inout [Int], _ choice: inout [Int], _ ends: ClosedRange<Int>, _ starts: ClosedRange<Int>, _ before: [Int], _ sums: Sums
  ) {
    let middle = (ends.lowerBound + ends.upperBound) / 2
    var best = Int.max
    for start in starts.lowerBound...max(starts.lowerBound, min(starts.upperBound, middle - 1)) {
      let waste = before[start] + sums.waste(from: start, to: middle)
      if waste < best { (best, choice[middle]) = (waste, start) }
    }
    next[middle] = best
    if ends.lowerBound < middle { fill(&next, &choice, ends.lowerBound...middle - 1, starts.lowerBound...choice[middle], before, sums) }
    if middle < ends.upperBound { fill(&next, &choice, middle + 1...ends.upperBound, choice[middle]...starts.upperBound, before, sums) }
  }

  /// Sums over the first n points, so that the waste of any run of them costs four loads.
  private struct Sums {
    private let sizes: [Int]
    private var requests = [0]
    private var asked = [0]

    init(_ points: [(size: Int, requests: Int, asked: Int)]) {
      sizes = points.map(\.size)
      for point in points {
        requests.append(requests[requests.count - 1] + point.requests)
        asked.append(asked[asked.count - 1] + point.asked)
      }
    }

    /// Of points `start` to `end` − 1 in a class of the size of the last.
    func waste(from start: Int, to end: Int) -> Int {
      (requests[end] - requests[start]) * sizes[end - 1] - (asked[end] - asked[start])
    }
  }
}
