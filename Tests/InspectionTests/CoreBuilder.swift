// SPDX-License-Identifier: BSD-2-Clause
//
// Core files put together byte by byte.

@testable import Inspection

/// Writes core files for tests.
struct CoreBuilder {
  var segments: [(address: UInt64, flags: UInt32, memory: UInt64, content: [UInt8])] = []
  var notes: [(type: UInt32, descriptor: [UInt8])] = []
  /// Puts the number of segments where files with more than 65,534 have it.
  var extendedCount = false

  static func bytes<Value: BitwiseCopyable>(_ value: Value) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

  static func files(_ entries: [(start: UInt64, end: UInt64, page: UInt64, path: String)]) -> [UInt8] {
    var result = bytes(UInt64(entries.count)) + bytes(UInt64(4096))
    for entry in entries { result += bytes(entry.start) + bytes(entry.end) + bytes(entry.page) }
    for entry in entries { result += Array(entry.path.utf8) + [0] }
    return result
  }

  func build() -> [UInt8] {
    var noteBytes: [UInt8] = []
    for note in notes {
      noteBytes += Self.bytes(UInt32(5)) + Self.bytes(UInt32(note.descriptor.count)) + Self.bytes(note.type)
      noteBytes += Array("CORE\0\0\0\0".utf8) + note.descriptor
      while noteBytes.count % 4 != 0 { noteBytes.append(0) }
    }
    let count = segments.count + 1
    var offset = UInt64(64 + 56 * count + (extendedCount ? 64 : 0))
    var header = ElfHeader()
    header.magic = 0x464c_457f
    header.fileClass = 2
    header.byteOrder = 1
    header.identVersion = 1
    header.type = Elf.core
    header.machine = 62
    header.version = 1
    header.programHeaders = 64
    header.headerBytes = 64
    header.programHeaderBytes = 56
    header.programHeaderCount = extendedCount ? Elf.extendedCount : UInt16(count)
    if extendedCount {
      header.sectionHeaders = UInt64(64 + 56 * count)
      header.sectionHeaderBytes = 64
      header.sectionHeaderCount = 1
    }
    var result = Self.bytes(header)
    result += Self.bytes(ProgramHeader(type: Elf.note, offset: offset, fileBytes: UInt64(noteBytes.count)))
    var body = noteBytes
    offset += UInt64(noteBytes.count)
    for segment in segments {
      result += Self.bytes(
        ProgramHeader(
          type: Elf.load, flags: segment.flags, offset: offset, virtualAddress: segment.address,
          fileBytes: UInt64(segment.content.count), memoryBytes: segment.memory))
      body += segment.content
      offset += UInt64(segment.content.count)
    }
    if extendedCount { result += Self.bytes(SectionHeader(info: UInt32(count))) }
    return result + body
  }
}
