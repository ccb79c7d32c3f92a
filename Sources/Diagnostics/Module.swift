// SPDX-License-Identifier: BSD-2-Clause
//
// The module that an address of code lies in, as the loader knows it. Nothing is copied: the name belongs to the loader.

import CPlatform

/// Addresses from `start` up to but not including `end`.
struct AddressRange {
  var start: UInt
  var end: UInt

  /// Whether `bytes` bytes from `address` on lie inside.
  @inline(__always)
  func holds(_ address: UInt, _ bytes: UInt) -> Bool { address >= start && address <= end && end &- address >= bytes }
}

public struct Module {
  /// The loader's record, `struct link_map`: the same for all addresses of a module while it is loaded.
  public let linkMap: UnsafeRawPointer?
  /// The path it was loaded from; empty for the program itself. Valid while the module is loaded.
  public let name: UnsafePointer<CChar>?
  /// The first byte of its mapping, and the one behind the last; where a program's segments do not follow each other without a
  /// gap, of the segment that was asked about.
  public let start: UInt
  public let end: UInt
  /// What the addresses in the file are offset by.
  let bias: UInt
  /// Address of .eh_frame_hdr, 0 if the file has none.
  let frameHeader: UInt

  /// Whether modules can be found at all.
  public static var isAvailable: Bool { stave_has_find_object() }
}

extension Module {
  /// Nil for what no file was loaded for, as code made at run time. No lock; some 10 ns.
  public init?(at address: UInt) {
    var object = stave_object()
    guard stave_find_object(address, &object), let map = object.link_map else { return nil }
    linkMap = UnsafeRawPointer(map)
    name = map.pointee.name
    start = object.start
    end = object.end
    bias = map.pointee.bias
    frameHeader = object.frame_header
  }

  /// How to step out of the function at this place of the module, the row that holds at `address`. Some 100 ns.
  func rule(at address: UInt) -> FrameRule {
    guard let segment = frameSegment else { return .none }
    return CallFrames(segment: segment, header: frameHeader).rule(at: address)
  }

  /// The segment that holds the call frame information; nil if there is none.
  var frameSegment: AddressRange? {
    if AddressRange(start: start, end: end).holds(frameHeader, 1) { return segment(of: frameHeader) }
    guard frameHeader != 0, let home = Module(at: frameHeader), home.linkMap == linkMap else { return nil }
    return home.segment(of: frameHeader)
  }

  /// The segment that holds `address`, an address of the mapping: a mapping may have gaps, where nothing can be read. Nil if
  /// no segment does. The whole mapping, if it does not begin with the file's header: then it is a segment, or of a file that
  /// no usual linker has made.
  private func segment(of address: UInt) -> AddressRange? {
    let mapping = AddressRange(start: start, end: end)
    var found: AddressRange?
    let isFile = forEachProgramHeader { kind, part in
      guard kind == 1, mapping.holds(part.start, part.end &- part.start), part.holds(address, 1) else { return false }
      found = part
      return true
    }
    return isFile ? found : mapping
  }

  /// Calls `body` with the kind and the bytes of each program header, as far as they lie in the first page, until it returns true.
  /// False if the module does not begin with its file's header.
  func forEachProgramHeader(_ body: (_ kind: UInt32, _ part: AddressRange) -> Bool) -> Bool {
    var header = ByteReader(AddressRange(start: start, end: min(end, start &+ 4096)), at: start)
    guard header.load(UInt32.self) == 0x464c_457f, header.load(UInt8.self) == 2 else { return false }
    header.move(to: start &+ 32)
    var place = start &+ UInt(header.load(UInt64.self))
    header.move(to: start &+ 54)
    let stride = UInt(header.load(UInt16.self))
    var left = header.load(UInt16.self)
    while left > 0 {
      header.move(to: place)
      let kind = header.load(UInt32.self)
      header.skip(12)
      let first = UInt(header.load(UInt64.self)) &+ bias
      header.skip(8)
      let bytes = UInt(header.load(UInt64.self))
      if header.hasFailed || body(kind, AddressRange(start: first, end: first &+ bytes)) { return true }
      place = place &+ stride
      left -= 1
    }
    return true
  }
}
