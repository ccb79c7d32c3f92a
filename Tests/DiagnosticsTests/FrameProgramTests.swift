// SPDX-License-Identifier: BSD-2-Clause
//
// Call frame instructions one by one, and the forms of what stands around them, on information made for the purpose.

import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

/// One description and one entry, for 1000 bytes of code from `code` on.
private struct Made {
  var augmentation = "zR"
  var augmentationData: [UInt8] = [0x1b]
  var encoding: UInt8 = 0x1b
  var version: UInt8 = 1
  var returnRegister: UInt8 = 16
  /// CFA = rsp + 8, the return address at CFA − 8.
  var shared: [UInt8] = [0x0c, 7, 8, 0x90, 1]
  var entryData: [UInt8] = [0]
  var own: [UInt8] = []

  /// The rule `offset` bytes into the code.
  func rule(at offset: Int = 0) -> FrameRule {
    let fence = Fenced(4096)
    let start = fence.start
    let code = start &+ 0x10000
    var bytes: [UInt8] = []
    func append<Number: FixedWidthInteger>(_ number: Number) { withUnsafeBytes(of: number) { bytes += $0 } }
    func record(_ body: [UInt8]) {
      let padding = (8 - (body.count + 4) % 8) % 8
      append(UInt32(body.count + padding))
      bytes += body + [UInt8](repeating: 0, count: padding)
    }
    // The header and its table of one.
    bytes += [1, 0x1b, 0x03, 0x3b]
    append(Int32(16))
    append(UInt32(1))
    append(Int32(0x10000))
    let entryPlace = bytes.count
    append(Int32(0))
    let description = bytes.count
    var body: [UInt8] = [0, 0, 0, 0, version] + Array(augmentation.utf8) + [0, 1, 0x78, returnRegister]  // units 1 and −8
    if augmentation.first == "z" { body += [UInt8(augmentationData.count)] + augmentationData }
    record(body + shared)
    let entry = bytes.count
    withUnsafeBytes(of: Int32(entry)) { bytes.replaceSubrange(entryPlace..<entryPlace + 4, with: $0) }
    let place = start + UInt(entry) + 8
    body = withUnsafeBytes(of: UInt32(entry + 4 - description)) { Array($0) }
    let target =
      switch encoding & 0x70 {
      case 0x10: code &- place
      case 0x30: code &- start
      default: code
      }
    switch encoding & 0x0f {
    case 0x03, 0x0b: body += withUnsafeBytes(of: UInt32(truncatingIfNeeded: target)) { Array($0) } + [0xe8, 3, 0, 0]
    default: body += withUnsafeBytes(of: target) { Array($0) } + [0xe8, 3, 0, 0, 0, 0, 0, 0]
    }
    record(body + entryData + own)
    bytes.withUnsafeBytes { copy(UInt(bitPattern: $0.baseAddress), to: start, UInt(bytes.count)) }
    return CallFrames(segment: AddressRange(start: start, end: start + UInt(bytes.count)), header: start).rule(at: code &+ UInt(bitPattern: offset))
  }
}

private func sp(_ offset: Int, _ saved: Int = 0) -> FrameRule { FrameRule(.sp, offset: offset, saved: saved) }
private func bp(_ offset: Int, _ saved: Int = 0) -> FrameRule { FrameRule(.bp, offset: offset, saved: saved) }

@Suite struct FrameProgramTests {
  @Test func `an entry covers its addresses and no others`() {
    for (offset, rule) in [(-1, FrameRule.none), (0, sp(8)), (999, sp(8)), (1000, .none), (-0x10000, .none)] {
      #expect(Made().rule(at: offset) == rule, "\(offset)")
    }
  }

  @Test func `each instruction does what it says, or makes the rule none`() {
    let cases: [(what: String, own: [UInt8], rule: FrameRule)] = [
      ("nothing", [0, 0, 0], sp(8)),
      ("def_cfa_offset", [0x0e, 0x90, 0x01], sp(144)),
      ("def_cfa_offset_sf", [0x13, 0x7e], sp(16)),
      ("def_cfa", [0x0c, 6, 32], bp(32)),
      ("def_cfa_sf", [0x12, 6, 0x7c], bp(32)),
      ("def_cfa_register", [0x0e, 16, 0x0d, 6], bp(16)),
      ("def_cfa of another register", [0x0c, 10, 8], .none),
      ("def_cfa_expression", [0x0f, 2, 0x76, 0x78], .none),
      ("def_cfa_expression, then a register", [0x0f, 2, 0x76, 0x78, 0x0d, 7], .none),
      ("def_cfa_expression, then def_cfa", [0x0f, 2, 0x76, 0x78, 0x0c, 7, 24], sp(24)),
      ("a CFA that is no multiple of 8", [0x0e, 12], .none),
      ("a CFA of 0", [0x0e, 0], .none),
      ("a CFA beyond all", [0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], .none),
      ("offset of rbp", [0x86, 2], sp(8, 16)),
      ("offset of rbx", [0x83, 2], sp(8)),
      ("offset of rbp, 0", [0x86, 0], .none),
      ("offset_extended", [0x05, 6, 3], sp(8, 24)),
      ("offset_extended_sf", [0x11, 6, 4], sp(8, 32)),
      ("offset_extended_sf, above the CFA", [0x11, 6, 0x7e], .none),
      ("restore", [0x86, 2, 0xc6], sp(8)),
      ("restore of another", [0x86, 2, 0xc3], sp(8, 16)),
      ("restore_extended", [0x86, 2, 0x06, 6], sp(8)),
      ("same_value", [0x86, 2, 0x08, 6], sp(8)),
      ("undefined rbp", [0x07, 6], .none),
      ("undefined rbx", [0x07, 3], sp(8)),
      ("undefined return address", [0x07, 16], .none),
      ("undefined return address, restored", [0x07, 16, 0xd0], sp(8)),
      ("return address elsewhere", [0x90, 2], .none),
      ("rbp in a register", [0x09, 6, 3], .none),
      ("rbx in a register", [0x09, 3, 6], sp(8)),
      ("rbp by expression", [0x10, 6, 2, 0x76, 0], .none),
      ("rbp's value by expression", [0x16, 6, 2, 0x76, 0], .none),
      ("rbx by expression", [0x10, 3, 2, 0x86, 0x86, 0x0e, 16], sp(16)),
      ("return address by expression", [0x10, 16, 1, 0x76], .none),
      ("rbp's value by offset", [0x14, 6, 2], .none),
      ("rbp's value by signed offset", [0x15, 6, 0x7e], .none),
      ("rbx's value by offset", [0x14, 3, 2, 0x15, 3, 2], sp(8)),
      ("rsp saved", [0x87, 2], .none),
      ("remember and restore", [0x0a, 0x0e, 16, 0x86, 2, 0x0b], sp(8)),
      ("restore what is not remembered", [0x0b], .none),
      ("remember four", [0x0a, 0x0a, 0x0a, 0x0a, 0x0e, 16], sp(16)),
      ("remember five", [0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0e, 16], .none),
      ("remembered in turn", [0x0a, 0x0e, 16, 0x0a, 0x0e, 24, 0x0b, 0x86, 2], sp(16, 16)),
      ("args_size", [0x2e, 0x80, 0x01, 0x0e, 16], sp(16)),
      ("set_loc", [0x01, 0, 0, 0, 0, 0x0e, 16], .none),
      ("unknown", [0x3f], .none),
      ("unknown, behind the address", [0x41, 0x3f], sp(8)),
      ("advance by 1", [0x41, 0x0e, 16], sp(8)),
      ("advance by none", [0x40, 0x0e, 16], sp(16)),
    ]
    for (what, own, rule) in cases { #expect(Made(own: own).rule() == rule, "\(what)") }
  }

  @Test func `a row holds from its address up to the next`() {
    for (advance, distance) in [([0x4a], 10), ([0x02, 200], 200), ([0x03, 0x2c, 1], 300), ([0x04, 0x90, 1, 0, 0], 400)] as [([UInt8], Int)] {
      let made = Made(own: advance + [0x0e, 16, 0x86, 2] + advance + [0x0c, 6, 24])
      #expect(made.rule(at: 0) == sp(8))
      #expect(made.rule(at: distance - 1) == sp(8))
      #expect(made.rule(at: distance) == sp(16, 16))
      #expect(made.rule(at: 2 * distance - 1) == sp(16, 16))
      #expect(made.rule(at: 2 * distance) == bp(24, 16))
      #expect(made.rule(at: 999) == bp(24, 16))
    }
  }

  @Test func `addresses may be written in several ways`() {
    for encoding: UInt8 in [0x1b, 0x1c, 0x3b, 0x3c, 0x00, 0x04, 0x0c] {
      #expect(Made(augmentationData: [encoding], encoding: encoding).rule(at: 5) == sp(8), "\(encoding)")
    }
    for encoding: UInt8 in [0x9b, 0x2b, 0x5b, 0x6b, 0xff, 0x01, 0x09, 0x0a] {
      #expect(Made(augmentationData: [encoding], encoding: 0x1b).rule(at: 5) == .none, "\(encoding)")
    }
  }

  @Test func `a description may say more, and must be understood`() {
    #expect(Made(augmentation: "", encoding: 0, entryData: []).rule() == sp(8))
    #expect(Made(augmentation: "zPLR", augmentationData: [0x9b, 1, 2, 3, 4, 0x1b, 0x1b], entryData: [4, 0x3f, 0x3f, 0x3f, 0x3f]).rule() == sp(8))
    #expect(Made(augmentation: "zPR", augmentationData: [0x00, 1, 2, 3, 4, 5, 6, 7, 8, 0x1b]).rule() == sp(8))
    #expect(Made(augmentation: "zPR", augmentationData: [0x50, 1, 2, 3, 4, 5, 6, 7, 8, 0x1b]).rule() == .none)
    #expect(Made(augmentation: "zR", augmentationData: [0x1b, 0x3f, 0x3f]).rule() == sp(8), "what the letters do not describe")
    #expect(Made(augmentation: "zRS").rule() == .none, "a signal's frame")
    #expect(Made(augmentation: "zRX").rule() == .none)
    #expect(Made(augmentation: "eh").rule() == .none)
    #expect(Made(version: 3).rule() == sp(8))
    #expect(Made(version: 4).rule() == .none)
    #expect(Made(returnRegister: 15).rule() == .none)
    #expect(Made(shared: [0x0c, 7, 8]).rule() == .none, "no return address")
    #expect(Made(shared: [0x0c, 7, 8, 0x90, 1, 0x86, 2], own: [0x08, 6, 0xc6]).rule() == sp(8, 16), "what restore goes back to")
    #expect(Made(shared: [0x3f]).rule() == .none)
  }
}
