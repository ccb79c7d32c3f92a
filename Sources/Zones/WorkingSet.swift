// SPDX-License-Identifier: BSD-2-Clause
//
// How many cached items a depot needs, estimated from how its contents moved. Movements that allocation did
// not cause (drains, buckets returned after a lost race) shift the marks instead of stretching them.
// What was never needed goes back after one period (trimIdleDepots), so a slow trim besides would have nothing to do.
//
// Invariant: highest ≥ held ≥ bottom ≥ lowest.

public struct WorkingSet {
  /// Most and fewest items held in this period, and fewest since the last new maximum.
  public var highest = 0
  public var lowest = 0
  public var bottom = 0
  /// The estimate, in items.
  public var size = 0

  public init() {}

  /// Nanoseconds of a period that nobody ends but trims: as that of UMA.
  static var period: Int64 { 20_000_000_000 }

  @inline(__always)
  mutating func added(nowHolding held: Int) {
    if held > highest {
      size = max(size, highest - bottom)
      highest = held
      bottom = held
    }
  }

  @inline(__always)
  mutating func removed(nowHolding held: Int) {
    if held < bottom { bottom = held }
    if held < lowest { lowest = held }
  }

  /// Items left the depot for another reason than being allocated.
  mutating func drained(_ count: Int, nowHolding held: Int) {
    highest = max(held, highest - count)
    bottom = min(held, max(0, bottom - count))
    lowest = min(bottom, max(0, lowest - count))
  }

  /// At the end of a period.
  mutating func update(holding held: Int) {
    size = max(size * 3 / 4, highest - bottom)
    highest = held + (highest - held) / 2
    lowest = held
    bottom = held
  }

  /// By the estimate, and by what was taken and came back in this period, which has not ended yet.
  func needed(holding held: Int) -> Int { max(size, held - bottom) }

  func checkInvariants(holding held: Int) {
    precondition(highest >= held && held >= bottom && bottom >= lowest, "working-set marks out of order")
  }
}
