// SPDX-License-Identifier: BSD-2-Clause
//
// Executes call frame instructions (DWARF 5, 6.4.2) for the only three things that a rule says: the CFA, and where the return
// address and rbp were saved. Instructions about other registers are read and passed over.

struct FrameProgram {
  // DWARF's numbers of x86-64's registers.
  static let bp: UInt = 6
  static let sp: UInt = 7
  static let returnAddress: UInt = 16

  /// Where the caller's value of a register is.
  struct Saved: Equatable {
    /// From the CFA; 0: the register still has it.
    var offset: Int
    /// In another register, described by an expression, or nowhere.
    static var lost: Saved { Saved(offset: .min) }
    static var unchanged: Saved { Saved(offset: 0) }
  }

  /// The state at one address of code.
  struct Row {
    /// The CFA is this register and an offset; 0 where it is an expression.
    var register: UInt = 0
    var offset = 0
    var bp = Saved.unchanged
    var returnAddress = Saved.lost

    /// `none` unless the return address lies at CFA − 8.
    var rule: FrameRule {
      guard returnAddress.offset == -8, bp != .lost else { return .none }
      switch register {
      case FrameProgram.sp: return FrameRule(.sp, offset: offset, saved: 0 &- bp.offset)
      case FrameProgram.bp: return FrameRule(.bp, offset: offset, saved: 0 &- bp.offset)
      default: return .none
      }
    }
  }

  private(set) var row = Row()
  /// After the shared instructions.
  private var initial = Row()
  /// Compilers remember one row; four are enough for anybody who writes such instructions by hand.
  private var remembered: InlineArray<4, Row>
  private var depth = 0
  private let encoding: PointerEncoding
  private let codeUnit: UInt
  private let dataUnit: Int

  init(_ description: CallFrames.Description) {
    encoding = description.encoding
    codeUnit = description.codeUnit
    dataUnit = description.dataUnit
    remembered = InlineArray(repeating: Row())
  }

  mutating func keepInitial() { initial = row }

  /// Executes from `location` on until the row for `target` is complete; all there is, without one. False for what is not
  /// understood. Ends: each instruction takes a byte, and there are at most 64 Ki.
  mutating func run(_ bytes: inout ByteReader, from location: UInt, upTo target: UInt?) -> Bool {
    var location = location
    var left = 65536
    while !bytes.isAtEnd && left > 0 {
      left -= 1
      let byte = bytes.load(UInt8.self)
      let low = UInt(byte & 0x3f)
      var advance: UInt = 0
      switch byte >> 6 {
      case 1: advance = low &* codeUnit
      case 2: save(low, at: Int(bitPattern: bytes.unsigned()) &* dataUnit)
      case 3: restore(low)
      default:
        switch low {
        case 0x02: advance = UInt(bytes.load(UInt8.self)) &* codeUnit
        case 0x03: advance = UInt(bytes.load(UInt16.self)) &* codeUnit
        case 0x04: advance = UInt(bytes.load(UInt32.self)) &* codeUnit
        default: if !execute(low, &bytes) { return false }
        }
      }
      if bytes.hasFailed { return false }
      if let target, advance > target &- location { return true }
      location = location &+ advance
    }
    return left > 0
  }

  /// An instruction that does not move to another address; false if it is none of those known here.
  private mutating func execute(_ code: UInt, _ bytes: inout ByteReader) -> Bool {
    switch code {
    case 0x00: break  // nothing
    case 0x05:  // offset_extended
      let register = bytes.unsigned()
      save(register, at: Int(bitPattern: bytes.unsigned()) &* dataUnit)
    case 0x06: restore(bytes.unsigned())
    case 0x07: lose(bytes.unsigned())  // undefined
    case 0x08: set(bytes.unsigned(), .unchanged)  // same_value
    case 0x09:  // register
      lose(bytes.unsigned())
      _ = bytes.unsigned()
    case 0x0a:  // remember_state
      guard depth < 4 else { return false }
      remembered[depth] = row
      depth += 1
    case 0x0b:  // restore_state
      guard depth > 0 else { return false }
      depth -= 1
      row = remembered[depth]
    case 0x0c:  // def_cfa
      row.register = bytes.unsigned()
      row.offset = Int(bitPattern: bytes.unsigned())
    case 0x0d:  // def_cfa_register, which leaves an expression as it is
      let register = bytes.unsigned()
      if row.register != 0 { row.register = register }
    case 0x0e: row.offset = Int(bitPattern: bytes.unsigned())  // def_cfa_offset
    case 0x0f:  // def_cfa_expression
      row.register = 0
      bytes.skip(bytes.unsigned())
    case 0x10, 0x16:  // expression, val_expression
      lose(bytes.unsigned())
      bytes.skip(bytes.unsigned())
    case 0x11:  // offset_extended_sf
      let register = bytes.unsigned()
      save(register, at: bytes.signed() &* dataUnit)
    case 0x12:  // def_cfa_sf
      row.register = bytes.unsigned()
      row.offset = bytes.signed() &* dataUnit
    case 0x13: row.offset = bytes.signed() &* dataUnit  // def_cfa_offset_sf
    case 0x14:  // val_offset
      lose(bytes.unsigned())
      _ = bytes.unsigned()
    case 0x15:  // val_offset_sf
      lose(bytes.unsigned())
      _ = bytes.signed()
    case 0x2e: _ = bytes.unsigned()  // GNU_args_size: of arguments that are pushed, which the CFA's offset knows of
    default: return false  // set_loc among them, which nobody writes
    }
    return true
  }

  private mutating func save(_ register: UInt, at offset: Int) { set(register, offset == 0 ? .lost : Saved(offset: offset)) }

  private mutating func lose(_ register: UInt) { set(register, .lost) }

  private mutating func restore(_ register: UInt) {
    if register == FrameProgram.bp { row.bp = initial.bp }
    if register == FrameProgram.returnAddress { row.returnAddress = initial.returnAddress }
  }

  private mutating func set(_ register: UInt, _ saved: Saved) {
    switch register {
    case FrameProgram.bp: row.bp = saved
    case FrameProgram.returnAddress: row.returnAddress = saved
    // The caller's stack pointer is the CFA; where that is not so, no rule can be had.
    case FrameProgram.sp: row.returnAddress = .lost
    default: break
    }
  }
}
