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
    // Program headers count as far as they lie in the first page.
    var header = ByteReader(AddressRange(start: start, end: min(end, start &+ 4096)), at: start)
    guard header.load(UInt32.self) == 0x464c_457f, header.load(UInt8.self) == 2 else { return mapping }
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
      let fileBytes = UInt(header.load(UInt64.self))
      if header.hasFailed { return nil }
      if kind == 1, mapping.holds(first, fileBytes) {
        let segment = AddressRange(start: first, end: first &+ fileBytes)
        if segment.holds(address, 1) { return segment }
      }
      place = place &+ stride
      left -= 1
    }
    return nil
  }
}
