// SPDX-License-Identifier: BSD-2-Clause
//
// One step: what a rule can say, and what it may read.

import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

@Suite struct FrameRuleTests {
  @Test func `a rule says what it was made of, or is none`() {
    for offset in stride(from: -16, through: 8 << 14, by: 4) {
      for (base, saved) in [(FrameRule.Base.sp, 0), (.bp, 16), (.sp, 504)] {
        let rule = FrameRule(base, offset: offset, saved: saved)
        guard offset >= 8, offset < 8 << 14, offset % 8 == 0 else {
          if !rule.isNone { Issue.record("offset \(offset) gives a rule") }
          continue
        }
        let agrees = !rule.isNone && rule.isFromStackPointer == (base == .sp) && rule.offset == UInt(offset) && rule.saved == UInt(saved)
        if !agrees || rule.bits >> UInt32(FrameRule.bitCount) != 0 { Issue.record("\(base) + \(offset), \(saved)") }
      }
    }
    for saved in [-16, 8, 12, 20, 512, 1 << 20, .max, .min] { #expect(FrameRule(.sp, offset: 32, saved: saved).isNone) }
  }

  /// A stack of 64 words, each its own number plus 1000, that lies against a page which nobody may read.
  private func withStack(_ body: (_ sp: UInt, _ end: UInt) -> Void) {
    let fence = Fenced(4096)
    let sp = fence.end - 64 * 8
    for index in 0..<64 { UnsafeMutablePointer<UInt>(bitPattern: sp)![index] = UInt(1000 + index) }
    body(sp, fence.end)
  }

  @Test func `a step reads the return address below the CFA, and rbp where it was saved`() {
    withStack { sp, end in
      let frame = Frame(pc: 1, sp: sp, bp: sp + 80)
      #expect(FrameRule(.sp, offset: 8, saved: 0).caller(of: frame, limit: end) == Frame(pc: 1000, sp: sp + 8, bp: sp + 80))
      #expect(FrameRule(.sp, offset: 32, saved: 16).caller(of: frame, limit: end) == Frame(pc: 1003, sp: sp + 32, bp: 1002))
      #expect(FrameRule(.sp, offset: 32, saved: 32).caller(of: frame, limit: end) == Frame(pc: 1003, sp: sp + 32, bp: 1000))
      #expect(FrameRule(.bp, offset: 16, saved: 16).caller(of: frame, limit: end) == Frame(pc: 1011, sp: sp + 96, bp: 1010))
      #expect(FrameRule(.sp, offset: 512, saved: 0).caller(of: frame, limit: end)?.pc == 1063)
      UnsafeMutablePointer<UInt>(bitPattern: sp)![0] = 0
      #expect(FrameRule(.sp, offset: 8, saved: 0).caller(of: frame, limit: end) == nil, "0 is no return address")
    }
  }

  @Test func `a step that leads down, beyond the limit, or between words is none, and reads nothing`() {
    withStack { sp, end in
      let frame = Frame(pc: 1, sp: sp, bp: 0)
      func step(_ rule: FrameRule, bp: UInt = 0, limit: UInt) -> Frame? { rule.caller(of: Frame(pc: 1, sp: sp, bp: bp), limit: limit) }
      #expect(FrameRule.none.caller(of: frame, limit: end) == nil)
      #expect(step(FrameRule(.sp, offset: 520, saved: 0), limit: end) == nil)
      #expect(step(FrameRule(.sp, offset: 64, saved: 0), limit: sp + 63) == nil)
      #expect(step(FrameRule(.sp, offset: 64, saved: 0), limit: sp + 64) != nil)
      #expect(step(FrameRule(.sp, offset: 64, saved: 72), limit: end) == nil, "saved below the stack pointer")
      let fromBP = FrameRule(.bp, offset: 16, saved: 16)
      for bp: UInt in [0, 8, sp - 16, sp - 8, sp - 4096, sp + 4, end - 8, end, end + 4096, .max, .max - 7, .max - 15, .max - 16, 1 << 63] {
        #expect(step(fromBP, bp: bp, limit: end) == nil, "rbp \(bp)")
      }
      #expect(step(fromBP, bp: sp, limit: end) != nil)
      #expect(FrameRule(.sp, offset: 64, saved: 0).caller(of: Frame(pc: 1, sp: .max - 7, bp: 0), limit: .max) == nil)
    }
  }

  @Test func `any rule, any registers: no read outside the stack`() {
    var generator = Generator(32)
    withStack { sp, end in
      for _ in 0..<Stage.steps(100_000) {
        let rule = FrameRule(bits: UInt32.random(in: 0..<1 << 22, using: &generator))
        let bp = Bool.random(using: &generator) ? sp &+ UInt(generator.below(1024)) &- 256 : generator.next() as UInt
        if let outer = rule.caller(of: Frame(pc: 1, sp: sp + UInt(generator.below(64)) * 8, bp: bp), limit: end) {
          #expect(outer.sp > sp && outer.sp <= end && outer.pc >= 1000 && outer.pc < 1064)
        }
      }
    }
  }
}

extension Generator {
  mutating func next() -> UInt { UInt(truncatingIfNeeded: next() as UInt64) }
}
