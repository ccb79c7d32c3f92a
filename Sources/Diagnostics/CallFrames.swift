// SPDX-License-Identifier: BSD-2-Clause
//
// A module's call frame information (.eh_frame, found by the sorted table of .eh_frame_hdr): which entry covers an address,
// and which description it shares with others. Linux Standard Base, "Exception Frames"; DWARF 5, 6.4. The information may be
// any bytes: what is not understood gives no rule.

/// How addresses are written.
struct PointerEncoding {
  let bits: UInt8
  init(_ bits: UInt8) { self.bits = bits }

  /// Reads one. `header`: what "relative to data" means here.
  func read(_ bytes: inout ByteReader, header: UInt) -> UInt {
    let place = bytes.address
    let value = readPlain(&bytes)
    switch bits & 0xf0 {
    case 0x00: return value
    case 0x10: return value &+ place
    case 0x30: return value &+ header
    default:
      bytes.fail()
      return 0
    }
  }

  /// Reads only its number.
  func readPlain(_ bytes: inout ByteReader) -> UInt {
    switch bits & 0x0f {
    case 0x00, 0x04, 0x0c: return UInt(bytes.load(UInt64.self))
    case 0x03: return UInt(bytes.load(UInt32.self))
    case 0x0b: return UInt(bitPattern: Int(bytes.load(Int32.self)))
    default:
      bytes.fail()
      return 0
    }
  }
}

struct CallFrames {
  /// The segment that all of it lies in.
  let segment: AddressRange
  /// Where .eh_frame_hdr begins.
  let header: UInt

  /// The rule at `address`, `none` if there is no entry for it or its row is not a rule.
  func rule(at address: UInt) -> FrameRule {
    guard let entry = find(address) else { return .none }
    guard var body = record(at: entry) else { return .none }
    let linkPlace = body.address
    let distance = UInt(body.load(UInt32.self))
    guard distance != 0, let description = Description(of: self, at: linkPlace &- distance) else { return .none }
    let first = description.encoding.read(&body, header: header)
    let count = description.encoding.readPlain(&body)
    guard !body.hasFailed, address &- first < count else { return .none }
    if description.isAugmented { body.skip(body.unsigned()) }
    var program = FrameProgram(description)
    var initial = description.instructions
    guard program.run(&initial, from: 0, upTo: nil) else { return .none }
    program.keepInitial()
    guard program.run(&body, from: first, upTo: address) else { return .none }
    return program.row.rule
  }

  /// The entry that begins last at or before `address`.
  private func find(_ address: UInt) -> UInt? {
    var bytes = ByteReader(segment, at: header)
    // Version 1; the frames' address, in four bytes however they count; the number of entries; pairs of offsets from here.
    guard bytes.load(UInt8.self) == 1 else { return nil }
    let framesEncoding = PointerEncoding(bytes.load(UInt8.self))
    let countEncoding = PointerEncoding(bytes.load(UInt8.self))
    guard bytes.load(UInt8.self) == 0x3b else { return nil }
    _ = framesEncoding.read(&bytes, header: header)
    let count = countEncoding.readPlain(&bytes)
    let table = bytes.address
    guard !bytes.hasFailed, count > 0, count <= (segment.end &- table) / 8 else { return nil }
    var low: UInt = 0
    var high = count
    while high &- low > 1 {
      let middle = low &+ (high &- low) / 2
      if offset(at: table &+ middle &* 8) <= address { low = middle } else { high = middle }
    }
    guard offset(at: table &+ low &* 8) <= address else { return nil }
    return offset(at: table &+ low &* 8 &+ 4)
  }

  /// Inside the table, whose end has been checked.
  @inline(__always)
  private func offset(at place: UInt) -> UInt {
    header &+ UInt(bitPattern: Int(UnsafeRawPointer(bitPattern: place).unsafelyUnwrapped.loadUnaligned(as: Int32.self)))
  }

  /// A reader of the record at `place`, which ends where the record does; behind its length.
  fileprivate func record(at place: UInt) -> ByteReader? {
    var bytes = ByteReader(segment, at: place)
    let length = UInt(bytes.load(UInt32.self))
    // 0xffffffff begins the long form, which linkers do not make.
    guard !bytes.hasFailed, length < 0xffff_fff0, segment.holds(bytes.address, length) else { return nil }
    return ByteReader(AddressRange(start: bytes.address, end: bytes.address &+ length), at: bytes.address)
  }

  /// What entries share ("common information entry").
  struct Description {
    var encoding = PointerEncoding(0)
    /// Whether its entries carry further data before their instructions.
    var isAugmented = false
    let codeUnit: UInt
    let dataUnit: Int
    /// From the first of its instructions on.
    let instructions: ByteReader

    /// Nil for signal frames, whose return address is no call's, and for what is not understood.
    init?(of frames: CallFrames, at place: UInt) {
      guard var bytes = frames.record(at: place), bytes.load(UInt32.self) == 0 else { return nil }
      let version = bytes.load(UInt8.self)
      guard version == 1 || version == 3 else { return nil }
      var letters = bytes
      var letter = bytes.load(UInt8.self)
      while letter != 0 { letter = bytes.load(UInt8.self) }
      codeUnit = bytes.unsigned()
      dataUnit = bytes.signed()
      let returnRegister = version == 1 ? UInt(bytes.load(UInt8.self)) : bytes.unsigned()
      guard !bytes.hasFailed, returnRegister == FrameProgram.returnAddress else { return nil }
      letter = letters.load(UInt8.self)
      if letter == 0x7a {  // z: the size of what the other letters describe, and that
        isAugmented = true
        let size = bytes.unsigned()
        let end = bytes.address &+ size
        guard bytes.range.holds(bytes.address, size) else { return nil }
        letter = letters.load(UInt8.self)
        while letter != 0 {
          switch letter {
          case 0x52: encoding = PointerEncoding(bytes.load(UInt8.self))  // R: of the entries' addresses
          case 0x4c: bytes.skip(1)  // L: of the language's data
          case 0x50:  // P: the language's function
            let personality = PointerEncoding(bytes.load(UInt8.self))
            guard personality.bits & 0x70 != 0x50 else { return nil }  // aligned
            _ = personality.readPlain(&bytes)
          default: return nil  // S: a signal frame, and what is unknown
          }
          letter = letters.load(UInt8.self)
        }
        bytes.move(to: end)
      } else if letter != 0 {
        return nil
      }
      guard !bytes.hasFailed else { return nil }
      instructions = bytes
    }
  }
}
