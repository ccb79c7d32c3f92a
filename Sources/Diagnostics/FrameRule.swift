// SPDX-License-Identifier: BSD-2-Clause
//
// How to step from a frame to its caller, at one address of code, in 22 bits:
//
//   bits 0–1    0 no rule; the CFA is 1: sp + k, 2: rbp + k
//   bits 2–15   k / 8, so frames up to 128 KiB; the return address lies at CFA − 8
//   bits 16–21  m / 8: the caller's rbp was saved at CFA − m; 0: rbp is still the caller's

/// A place in running code, as its caller sees it once the call returns.
public struct Frame: Equatable {
  /// Where the call returns to.
  public var pc: UInt
  /// The stack pointer after the return.
  public var sp: UInt
  public var bp: UInt

  @inline(__always)
  public init(pc: UInt, sp: UInt, bp: UInt) {
    self.pc = pc
    self.sp = sp
    self.bp = bp
  }
}

public struct FrameRule: Equatable {
  static let bitCount = 22
  let bits: UInt32

  @inline(__always)
  init(bits: UInt32) { self.bits = bits }

  static var none: FrameRule { FrameRule(bits: 0) }

  enum Base: UInt32 { case sp = 1, bp = 2 }

  /// `saved`: m, 0 if rbp is unchanged. No rule if a number does not fit.
  init(_ base: Base, offset: Int, saved: Int) {
    guard offset >= 8, offset < 8 << 14, offset & 7 == 0, saved == 0 || saved >= 16 && saved < 8 << 6 && saved & 7 == 0 else {
      bits = 0
      return
    }
    bits = base.rawValue | UInt32(truncatingIfNeeded: offset / 8) << 2 | UInt32(truncatingIfNeeded: saved / 8) << 16
  }

  @inline(__always) var isNone: Bool { bits & 3 == 0 }
  @inline(__always) var isFromStackPointer: Bool { bits & 3 == 1 }
  @inline(__always) var offset: UInt { UInt(bits >> 2 & 0x3fff) &* 8 }
  @inline(__always) var saved: UInt { UInt(bits >> 16 & 0x3f) &* 8 }

  /// The CFA, above the stack pointer, with room for what the rule reads between them; nil where there is no rule, or that is not so.
  func address(of frame: Frame) -> UInt? {
    guard !isNone else { return nil }
    let cfa = (isFromStackPointer ? frame.sp : frame.bp) &+ offset
    return cfa > frame.sp && cfa & 7 == 0 && cfa &- frame.sp >= max(8, saved) ? cfa : nil
  }

  /// The frame that called this one; nil where there is no rule, no return address, or one of the two stack words does not lie
  /// between the frame's stack pointer and `limit`. Loads one or two words of the stack.
  @inline(__always)
  func caller(of frame: Frame, limit: UInt) -> Frame? {
    guard !isNone else { return nil }
    let cfa = (isFromStackPointer ? frame.sp : frame.bp) &+ offset
    let saved = saved
    // Both words lie at most `cfa − sp` below the CFA.
    guard cfa > frame.sp, cfa <= limit, cfa & 7 == 0, cfa &- frame.sp >= max(8, saved) else { return nil }
    let pc = UnsafePointer<UInt>(bitPattern: cfa &- 8).unsafelyUnwrapped.pointee
    let bp = saved == 0 ? frame.bp : UnsafePointer<UInt>(bitPattern: cfa &- saved).unsafelyUnwrapped.pointee
    return pc == 0 ? nil : Frame(pc: pc, sp: cfa, bp: bp)
  }
}
