// SPDX-License-Identifier: BSD-2-Clause
//
// A module's build id: what tells its file from others of the same name, and finds the file that has its symbols.

extension Module {
  /// Calls `body` with each byte; not at all if the module has none, or does not begin with its file's header.
  public func forEachByteOfBuildID(_ body: (UInt8) -> Void) {
    // Notes count as far as they lie in the first page: what lies behind may be a gap.
    let page = AddressRange(start: start, end: min(end, start &+ 4096))
    _ = forEachProgramHeader { kind, part in
      kind == 4 && page.holds(part.start, part.end &- part.start) && visit(ByteReader(part, at: part.start), body)
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
