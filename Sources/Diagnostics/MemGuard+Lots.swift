// SPDX-License-Identifier: BSD-2-Clause
//
// Which requests are guarded: those of the types and sizes that are meant, and of these one in so many, by lot. A lot is how many more
// requests a CPU serves until the next guarded one: evenly from 1 to twice the interval less one, so that no rhythm of the program's
// can hide anything. To look at it costs a nanosecond.

import Accounting
import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Whether such a request is meant at all, which this size class serves; nil: none does.
  @inline(__always)
  public func isMeant(_ size: UInt, _ type: TypePointer?, _ sizeClass: @autoclosure () -> Int?) -> Bool {
    size >= pointee.least && size <= pointee.most && types.chooses(type, sizeClass(), for: .guards)
  }

  /// Whether some requests without a type may be guarded; and whether of those that a class serves all are meant, and none counted apart.
  public var mayGuardPlain: Bool { pointee.takesPages || typeNames(.guards).pointee.plain != Choice.none }
  public var meansAllPlain: Bool {
    !pointee.takesPages && pointee.least == 0 && pointee.most >= UInt(SizeClass.largest) && typeNames(.guards).pointee.plain == Choice.all
  }

  /// A request has been served; it counts if it was too small.
  @inline(__always)
  public func note(_ size: UInt) { if size < pointee.least { lot.pointee.too_small &+= 1 } }

  /// Whether it is one of those that are guarded whatever the lot.
  @inline(__always)
  public func isLargeEnough(_ size: UInt) -> Bool { pointee.takesPages && size >= UInt(pageBytes) && size >= pointee.least }

  /// The lot does not fall on the next request of this CPU, which is one less from now on.
  @inline(__always)
  public func passesBy() -> Bool {
    let lot = lot
    guard lot.pointee.left > 1 else { return false }
    lot.pointee.left &-= 1
    return true
  }

  /// It was no request after all.
  public func takeBack() { lot.pointee.left &+= 1 }

  /// Whether the next request is it; then the next lot is drawn.
  public func draw() -> Bool {
    if passesBy() { return false }
    lot.pointee.left = 1 + Int64(chance(below: UInt64(pointee.interval) &* 2 &- 1))
    stave_add(&pointee.hits, 1)
    return true
  }

  func drawAll(_ interval: Int64) {
    for index in 0..<Int(STAVE_LOTS) {
      let lot = stave_lots() + index
      lot.pointee.chance = lot.pointee.chance &+ UInt64(bitPattern: root.pointee.started) &+ UInt64(index) << 56
      lot.pointee.left = 1 + Int64(chance(below: UInt64(interval) &* 2 &- 1))
    }
  }

  /// Requests that were too small, by all CPUs.
  public var tooSmall: Int64 {
    var sum: Int64 = 0
    for index in 0..<Int(STAVE_LOTS) { sum &+= stave_lots()[index].too_small }
    return sum
  }

  @inline(__always)
  private var lot: UnsafeMutablePointer<stave_lot> { stave_lots() + Int(stave_rseq_cpu()) & Int(STAVE_LOTS - 1) }

  /// Evenly from 0 to `bound` - 1: splitmix.
  private func chance(below bound: UInt64) -> UInt64 {
    let state = lot
    state.pointee.chance = state.pointee.chance &+ 0x9e37_79b9_7f4a_7c15
    var word = state.pointee.chance
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    word ^= word >> 31
    return word.multipliedFullWidth(by: bound).high
  }
}
