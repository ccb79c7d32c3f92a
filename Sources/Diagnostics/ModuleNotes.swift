// SPDX-License-Identifier: BSD-2-Clause
//
// A module's build id: what tells its file from others of the same name, and finds the file that has its symbols.

extension Module {
  /// Calls `body` with each byte; not at all if the module has none, or does not begin with its file's header.
  public func forEachByteOfBuildID(_ body: (UInt8) -> Void) {
    var header = ByteReader(AddressRange(start: start, end: min(end, start &+ 4096)), at: start)
    guard header.load(UInt32.self) == 0x464c_457f, header.load(UInt8.self) == 2 else { return }
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
      if header.hasFailed { return }
      // Notes count as far as they lie in the first page: what lies behind may be a gap.
      if kind == 4, header.range.holds(first, bytes), visit(ByteReader(AddressRange(start: first, end: first &+ bytes), at: first), body) { return }
      place = place &+ stride
      left -= 1
    }
  }

  /// Whether it was among these notes.
  private func visit(_ notes: ByteReader, _ body: (UInt8) -> Void) -> Bool {
    var notes = notes
    while !notes.isAtEnd {
      let nameBytes = UInt(notes.load(UInt32.self)), idBytes = UInt(notes.load(UInt32.self)), kind = notes.load(UInt32.self)
      let isGNU = nameBytes == 4 && notes.load(UInt32.self) == 0x0055_4e47
      if !isGNU { notes.skip((nameBytes &+ 3) & ~3) }
      if notes.hasFailed { return false }
      if isGNU && kind == 3 && idBytes <= 64 {
        var left = idBytes
        while left > 0 {
          let byte = notes.load(UInt8.self)
          if notes.hasFailed { return true }
          body(byte)
          left -= 1
        }
        return true
      }
      notes.skip((idBytes &+ 3) & ~3)
    }
    return false
  }
}
