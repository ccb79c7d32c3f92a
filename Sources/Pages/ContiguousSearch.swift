// SPDX-License-Identifier: BSD-2-Clause
//
// The search for a physically contiguous range, in passes. A source yields runs of memory one at a time, each a little dearer to
// have; all that was yielded is held until the attempt ends, so that the system cannot hand out the same again and nobody can take what
// has just been made free (L57). Then what the range needs is kept, and all else goes back; if there is no range, or making a
// block of it fails, all goes back.

import Primitives

/// Memory whose pages follow each other in the machine too.
public struct PhysicalRun: BitwiseCopyable {
  public var physical: UInt
  public var bytes: UInt
  /// Where the process sees it.
  public var address: UInt

  public init(physical: UInt, bytes: UInt, address: UInt) {
    self.physical = physical
    self.bytes = bytes
    self.address = address
  }

  var end: UInt { physical + bytes }
}

public protocol RunSource {
  /// Whether several runs can be made one range.
  var joins: Bool { get }
  /// Passes are numbered from 1. The first takes what is free; later ones may wait for the system, and give up what is cached.
  mutating func begin(pass: Int)
  /// Another run; nil if this pass has no more.
  mutating func take() -> PhysicalRun?
  mutating func release(_ run: PhysicalRun)
  /// Makes a block of the range at `place`, all of which lies in `runs`, in order. Nil if that fails: then the runs are held still.
  mutating func keep(_ runs: UnsafeMutableBufferPointer<PhysicalRun>, place: UInt) -> UInt?
}

public struct ContiguousSearch {
  public let request: ContiguousRequest
  /// Those held, in order of their physical addresses.
  private let runs: UnsafeMutablePointer<PhysicalRun>
  private let capacity: Int
  public private(set) var count = 0
  private let joins: Bool

  /// `table` has room for `capacity` runs: so many are looked at.
  public init(_ request: ContiguousRequest, joins: Bool, table: UnsafeMutablePointer<PhysicalRun>, capacity: Int) {
    self.request = request
    self.joins = joins
    runs = table
    self.capacity = capacity
  }

  /// The address of a block, what else was held being given back; nil if all of it was. O(n) for each run.
  public mutating func find<Source: RunSource>(in source: inout Source, passes: Int) -> UInt? {
    var place: UInt? = nil
    var pass = 1
    while place == nil && pass <= passes {
      source.begin(pass: pass)
      while place == nil, count < capacity, let run = source.take() { place = offer(run) }
      pass += 1
    }
    if let place {
      releaseOutside(place, &source)
      if let address = source.keep(UnsafeMutableBufferPointer(start: runs, count: count), place: place) {
        count = 0
        return address
      }
    }
    while count > 0 {
      count -= 1
      source.release(runs[count])
    }
    return nil
  }

  /// Holds a run: where the request can be met, with those that touch it on both sides.
  public mutating func offer(_ run: PhysicalRun) -> UInt? {
    var position = count
    while position > 0 && runs[position - 1].physical > run.physical {
      runs[position] = runs[position - 1]
      position -= 1
    }
    runs[position] = run
    count += 1
    var first = position
    var last = position
    while joins && first > 0 && runs[first - 1].end == runs[first].physical { first -= 1 }
    while joins && last + 1 < count && runs[last].end == runs[last + 1].physical { last += 1 }
    return request.place(from: runs[first].physical, to: runs[last].end)
  }

  private mutating func releaseOutside<Source: RunSource>(_ place: UInt, _ source: inout Source) {
    var kept = 0
    for index in 0..<count {
      if runs[index].end > place && runs[index].physical < place + request.size {
        runs[kept] = runs[index]
        kept += 1
      } else {
        source.release(runs[index])
      }
    }
    count = kept
  }

  /// In order, and apart; and the request cannot be met by any: else it would have been.
  public func checkInvariants() {
    precondition(count <= capacity, "more runs than there is room for")
    var from: UInt = 0
    for index in 0..<count {
      precondition(runs[index].bytes > 0, "a run of nothing")
      if index > 0 { precondition(runs[index - 1].end <= runs[index].physical, "runs that overlap, or out of order") }
      if index == 0 || !joins || runs[index - 1].end < runs[index].physical { from = runs[index].physical }
      precondition(request.place(from: from, to: runs[index].end) == nil, "what is sought is held")
    }
  }
}
