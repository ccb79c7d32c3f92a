// SPDX-License-Identifier: BSD-2-Clause
//
// The records of ELF64, little-endian, as they lie in files and in memory, and the header that opens both. Only what the
// reader uses has a name. Everything that is read here comes from outside and may be garbage: sums are checked, counts have
// bounds, and a record is never believed because the one before it was.

enum Elf {
  // Types of files.
  static let executable: UInt16 = 2
  static let shared: UInt16 = 3
  static let core: UInt16 = 4
  // Types of segments.
  static let load: UInt32 = 1
  static let dynamic: UInt32 = 2
  static let note: UInt32 = 4
  // Types of sections.
  static let symbolTable: UInt32 = 2
  static let exportedTable: UInt32 = 11
  // Types of symbols.
  static let function: UInt8 = 2
  /// Which function it is, the loader finds out.
  static let chosenFunction: UInt8 = 10
  /// In `programHeaderCount`: the count did not fit, and stands in the first section header's `info`.
  static let extendedCount: UInt16 = 0xffff
  // A symbol's section when it has none, or when its value is no address of the image.
  static let undefinedSection: UInt16 = 0
  static let absoluteSection: UInt16 = 0xfff1
  // Segment flags.
  static let executeFlag: UInt32 = 1
  static let writeFlag: UInt32 = 2
  static let readFlag: UInt32 = 4
  // Tags of the dynamic section.
  static let tagNull: UInt64 = 0
  static let tagHash: UInt64 = 4
  static let tagStrings: UInt64 = 5
  static let tagSymbols: UInt64 = 6
  static let tagStringBytes: UInt64 = 10
  static let tagGnuHash: UInt64 = 0x6fff_fef5
}

struct ElfHeader: BitwiseCopyable {
  /// 0x7f "ELF", class, byte order, version, and eight more.
  var magic: UInt32 = 0
  var fileClass: UInt8 = 0
  var byteOrder: UInt8 = 0
  var identVersion: UInt8 = 0
  var systemABI: UInt8 = 0
  var padding: UInt64 = 0
  var type: UInt16 = 0
  var machine: UInt16 = 0
  var version: UInt32 = 0
  var entry: UInt64 = 0
  var programHeaders: UInt64 = 0
  var sectionHeaders: UInt64 = 0
  var flags: UInt32 = 0
  var headerBytes: UInt16 = 0
  var programHeaderBytes: UInt16 = 0
  var programHeaderCount: UInt16 = 0
  var sectionHeaderBytes: UInt16 = 0
  var sectionHeaderCount: UInt16 = 0
  var sectionNames: UInt16 = 0

  static let bytes = 64
  var hasMagic: Bool { magic == 0x464c_457f }

  /// What keeps this header from being one that is read here; nil if nothing does.
  var fault: String? {
    if !hasMagic { return "it is not in ELF format" }
    if fileClass != 2 { return "it is not a 64-bit ELF file" }
    if byteOrder != 1 { return "its byte order is not little-endian" }
    if version != 1 { return "its ELF version is not 1" }
    if programHeaderCount != 0 && programHeaderBytes != ProgramHeader.bytes { return "its program headers have an unknown size" }
    return nil
  }
}

struct ProgramHeader: BitwiseCopyable {
  var type: UInt32 = 0
  var flags: UInt32 = 0
  var offset: UInt64 = 0
  var virtualAddress: UInt64 = 0
  var physicalAddress: UInt64 = 0
  var fileBytes: UInt64 = 0
  var memoryBytes: UInt64 = 0
  var alignment: UInt64 = 0

  static let bytes = 56
}

struct SectionHeader: BitwiseCopyable {
  var name: UInt32 = 0
  var type: UInt32 = 0
  var flags: UInt64 = 0
  var address: UInt64 = 0
  var offset: UInt64 = 0
  var bytes: UInt64 = 0
  var link: UInt32 = 0
  var info: UInt32 = 0
  var alignment: UInt64 = 0
  var entryBytes: UInt64 = 0

  static let bytes = 64
}

struct ElfSymbol: BitwiseCopyable {
  /// Offset in the string table.
  var name: UInt32 = 0
  var info: UInt8 = 0
  var other: UInt8 = 0
  var section: UInt16 = 0
  var value: UInt64 = 0
  var bytes: UInt64 = 0

  static let bytes = 24
}

struct DynamicEntry: BitwiseCopyable {
  var tag: UInt64 = 0
  var value: UInt64 = 0
}

struct NoteHeader: BitwiseCopyable {
  var nameBytes: UInt32 = 0
  var descriptorBytes: UInt32 = 0
  var type: UInt32 = 0

  static let bytes = 12
}

/// One ELF note: who wrote it, what kind it is, where its content lies.
struct ElfNote {
  /// Without the zero byte at its end.
  var name: String
  var type: UInt32
  /// Address (in a file: offset) and length of the descriptor.
  var descriptor: UInt
  var descriptorBytes: Int
}

extension ByteSource {
  /// Visits the notes in [start, start + length) until `visit` returns false. A note that claims more than is left ends
  /// the visit; so does an unreadable one. Notes are aligned to 4 bytes, in segments of alignment 8 to 8.
  func forEachNote(
    at start: UInt, length: UInt64, alignment: UInt64, _ visit: (ElfNote) throws(InspectionError) -> Bool
  ) throws(InspectionError) {
    guard var left = Int(exactly: length), !start.addingReportingOverflow(UInt(left)).overflow else { return }
    let mask = alignment == 8 ? 7 : 3
    var position = start
    // Each round uses up at least a header; the bound on rounds is against a file that is nothing but headers.
    var rounds = 0
    while left >= NoteHeader.bytes, rounds < 1_000_000 {
      rounds += 1
      guard let header = try? read(NoteHeader.self, at: position) else { return }
      // Both are 32 bits, so these sums fit.
      let descriptorOffset = (NoteHeader.bytes + Int(header.nameBytes) + mask) & ~mask
      let end = descriptorOffset + Int(header.descriptorBytes)
      guard end <= left else { return }
      var name = ""
      if header.nameBytes > 0, header.nameBytes <= 64,
        let text = try? readString(at: position &+ UInt(NoteHeader.bytes), limit: Int(header.nameBytes))
      {
        name = text
      }
      let note = ElfNote(
        name: name, type: header.type, descriptor: position &+ UInt(descriptorOffset),
        descriptorBytes: Int(header.descriptorBytes))
      guard try visit(note) else { return }
      let next = min(left, (end + mask) & ~mask)
      position &+= UInt(next)
      left -= next
    }
  }

  /// The content of the GNU build id among notes, nil if there is none.
  func buildID(inNotesAt start: UInt, length: UInt64, alignment: UInt64) -> [UInt8]? {
    var found: [UInt8]?
    try? forEachNote(at: start, length: length, alignment: alignment) { note throws(InspectionError) in
      guard note.name == "GNU", note.type == 3 else { return true }
      found = try? readArray(UInt8.self, at: note.descriptor, count: note.descriptorBytes, limit: 64)
      return false
    }
    return found
  }
}
