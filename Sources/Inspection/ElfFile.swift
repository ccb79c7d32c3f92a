// SPDX-License-Identifier: BSD-2-Clause
//
// A program's or library's file: its build id, and its full symbol table (.symtab), which is not loaded into memory. The
// table is the last resort for finding the root of a static program that has no note.

struct ElfFile {
  let file: FileBytes
  let header: ElfHeader

  /// Throws `badImage` if it is no ELF file that can be read.
  init(_ file: FileBytes) throws(InspectionError) {
    let header = try file.read(ElfHeader.self, at: 0)
    if let fault = header.fault { throw .badImage(address: 0, reason: "\(file.path): \(fault)") }
    self.file = file
    self.header = header
  }

  func programHeaders() throws(InspectionError) -> [ProgramHeader] {
    guard let offset = UInt(exactly: header.programHeaders) else { return [] }
    return try file.readArray(ProgramHeader.self, at: offset, count: Int(header.programHeaderCount), limit: 0xffff)
  }

  func buildID() -> [UInt8]? {
    guard let headers = try? programHeaders() else { return nil }
    for header in headers where header.type == Elf.note {
      guard let offset = UInt(exactly: header.offset) else { continue }
      if let found = file.buildID(inNotesAt: offset, length: header.fileBytes, alignment: header.alignment) { return found }
    }
    return nil
  }

  /// The value of `name` in .symtab, an address in terms of the file's own headers; nil if there is no such symbol, or no
  /// table. Reads the whole string table, and the symbols if the name is in it: for a large program some 10 ms.
  func value(ofSymbol name: String) throws(InspectionError) -> UInt64? {
    guard header.sectionHeaderBytes == SectionHeader.bytes, let offset = UInt(exactly: header.sectionHeaders) else { return nil }
    let sections = try file.readArray(SectionHeader.self, at: offset, count: Int(header.sectionHeaderCount), limit: 0xffff)
    for section in sections where section.type == Elf.symbolTable && Int(section.link) < sections.count {
      let strings = sections[Int(section.link)]
      // Linkers let short names lie inside longer ones, so the name may occur at several offsets; each is a candidate.
      let offsets = try occurrences(of: Array(name.utf8) + [0], in: strings)
      if offsets.isEmpty { continue }
      if let value = try value(ofSymbolNamedAt: offsets, in: section) { return value }
    }
    return nil
  }

  private static var chunkBytes: Int { 24 * 8192 }

  /// A section's place in the file, if it is all there.
  private func range(of section: SectionHeader) -> Range<UInt>? {
    let (end, overflow) = section.offset.addingReportingOverflow(section.bytes)
    guard !overflow, end <= file.size else { return nil }
    return UInt(section.offset)..<UInt(end)
  }

  private func occurrences(of pattern: [UInt8], in strings: SectionHeader) throws(InspectionError) -> Set<UInt32> {
    guard let range = range(of: strings), range.count <= UInt32.max else { return [] }
    var found: Set<UInt32> = []
    var position = range.lowerBound
    while position < range.upperBound {
      // Pieces overlap by the pattern less one byte, so that none is missed at a seam or found twice.
      let count = min(Self.chunkBytes, Int(range.upperBound - position))
      let piece = try file.readArray(UInt8.self, at: position, count: count, limit: Self.chunkBytes)
      search(piece, for: pattern) { found.insert(UInt32(Int(position - range.lowerBound) + $0)) }
      if count < Self.chunkBytes { break }
      position += UInt(count - (pattern.count - 1))
    }
    return found
  }

  private func value(ofSymbolNamedAt offsets: Set<UInt32>, in section: SectionHeader) throws(InspectionError) -> UInt64? {
    guard let range = range(of: section) else { return nil }
    var position = range.lowerBound
    while position < range.upperBound {
      let count = min(Self.chunkBytes, Int(range.upperBound - position)) / ElfSymbol.bytes
      if count == 0 { break }
      let symbols = try file.readArray(ElfSymbol.self, at: position, count: count, limit: Self.chunkBytes)
      for symbol in symbols where symbol.section != Elf.undefinedSection && offsets.contains(symbol.name) { return symbol.value }
      position += UInt(count * ElfSymbol.bytes)
    }
    return nil
  }
}

/// Every place of `pattern` in `text`, by Horspool's rule: the byte under the pattern's last one says how far to move on.
private func search(_ text: [UInt8], for pattern: [UInt8], _ visit: (Int) -> Void) {
  let last = pattern.count - 1
  var steps = [Int](repeating: pattern.count, count: 256)
  for index in 0..<last { steps[Int(pattern[index])] = last - index }
  text.withUnsafeBufferPointer { text in
    var position = 0
    while position + last < text.count {
      let byte = text[position + last]
      if byte == pattern[last], text[position..<(position + last)].elementsEqual(pattern[..<last]) { visit(position) }
      position += steps[Int(byte)]
    }
  }
}
