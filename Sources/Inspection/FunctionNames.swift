// SPDX-License-Identifier: BSD-2-Clause
//
// The functions of one program or library by address, from its file's symbols: the full table (.symtab) if the file has it, else that
// of what it exports (.dynsym).

public struct FunctionNames: Sendable {
  private struct Function {
    var start: UInt64
    var end: UInt64
    var name: UInt32
    var isLocal: Bool
  }

  /// By start; those of one start behind each other, the best name last.
  private let functions: [Function]
  private let strings: [UInt8]

  public var isEmpty: Bool { functions.isEmpty }

  /// Reads the file's table and its names: for a large program 100 ms. Throws `badImage` for what is no such file.
  init(_ file: ElfFile) throws(InspectionError) {
    let sections = try file.sections()
    var functions: [Function] = []
    var strings: [UInt8] = []
    for kind in [Elf.symbolTable, Elf.exportedTable] {
      for section in sections where section.type == kind && Int(section.link) < sections.count {
        let found = try Self.functions(in: section, of: file)
        if found.isEmpty { continue }
        functions = found
        strings = try file.bytes(of: sections[Int(section.link)])
        break
      }
      if !functions.isEmpty { break }
    }
    functions.sort { ($0.start, $0.end, $0.isLocal ? 0 : 1) < ($1.start, $1.end, $1.isLocal ? 0 : 1) }
    // One without a size reaches to the next.
    for index in functions.indices where functions[index].end == functions[index].start {
      functions[index].end = functions[index...].first { $0.start > functions[index].start }?.start ?? functions[index].start &+ 4096
    }
    self.functions = functions
    self.strings = strings
  }

  private static func functions(in section: SectionHeader, of file: ElfFile) throws(InspectionError) -> [Function] {
    var functions: [Function] = []
    try file.forEachSymbol(of: section) { symbol in
      let kind = symbol.info & 15
      guard kind == Elf.function || kind == Elf.chosenFunction, symbol.section != Elf.undefinedSection, symbol.name != 0 else { return }
      let (end, overflow) = symbol.value.addingReportingOverflow(symbol.bytes)
      if !overflow { functions.append(Function(start: symbol.value, end: end, name: symbol.name, isLocal: symbol.info >> 4 == 0)) }
    }
    return functions
  }

  /// The function that holds `address`, in terms of the file's own headers, and how far into it that is.
  public func function(at address: UInt64) -> (name: String, offset: UInt64)? {
    var low = 0
    var high = functions.count
    while low < high {
      let middle = (low + high) / 2
      if functions[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    // Before the last that begins here or earlier may lie a longer one that holds it.
    var index = low - 1
    while index >= 0 && index >= low - 16 {
      if address < functions[index].end { return (name(functions[index].name), address - functions[index].start) }
      index -= 1
    }
    return nil
  }

  /// Without the version that libraries have behind it.
  private func name(_ offset: UInt32) -> String {
    guard Int(offset) < strings.count else { return "?" }
    let text = strings[Int(offset)...].prefix { $0 != 0 }
    let end = text.dropFirst().firstIndex(of: UInt8(ascii: "@")) ?? text.endIndex
    return String(decoding: text[..<end], as: UTF8.self).printable
  }
}

extension ElfFile {
  func sections() throws(InspectionError) -> [SectionHeader] {
    guard header.sectionHeaderBytes == SectionHeader.bytes, let offset = UInt(exactly: header.sectionHeaders) else { return [] }
    return try file.readArray(SectionHeader.self, at: offset, count: Int(header.sectionHeaderCount), limit: 0xffff)
  }

  /// A section's content, empty if it is not all there; 1 GiB at most.
  func bytes(of section: SectionHeader) throws(InspectionError) -> [UInt8] {
    let (end, overflow) = section.offset.addingReportingOverflow(section.bytes)
    guard !overflow, end <= file.size, section.bytes <= 1 << 30 else { return [] }
    return try file.readArray(UInt8.self, at: UInt(section.offset), count: Int(section.bytes), limit: 1 << 30)
  }

  /// In pieces; none if they are not all there.
  func forEachSymbol(of section: SectionHeader, _ body: (ElfSymbol) -> Void) throws(InspectionError) {
    let (end, overflow) = section.offset.addingReportingOverflow(section.bytes)
    guard !overflow, end <= file.size else { return }
    var position = UInt(section.offset)
    var left = Int(section.bytes) / ElfSymbol.bytes
    while left > 0 {
      let count = min(left, 8192)
      for symbol in try file.readArray(ElfSymbol.self, at: position, count: count, limit: 8192) { body(symbol) }
      position += UInt(count * ElfSymbol.bytes)
      left -= count
    }
  }
}
