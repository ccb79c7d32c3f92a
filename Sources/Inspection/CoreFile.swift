// SPDX-License-Identifier: BSD-2-Clause
//
// An ELF core file as a target: opening it, its segments, who it was. CoreFile+Notes.swift reads its notes,
// CoreFile+Memory.swift its memory.
//
// A core may be cut off anywhere: by a full disk, a limit, or because it is still being written. What is missing is
// noticed at the read that needs it; `isTruncated` says beforehand that something will be. Cores of kernels (NT_FILE, every
// mapping a segment, even those not written) and of gdb's gcore (only what it wrote) are both understood.

import Glibc
import Synchronization

public final class CoreFile: TargetMemory {
  public let path: String
  /// The file ends before its last segment does.
  public let isTruncated: Bool
  /// PID, name, arguments, signal: as far as the notes tell.
  public let identity: CoreIdentity
  let file: FileBytes
  let segments: [CoreSegment]
  let mappedFiles: [MappedFile]
  /// Of the threads, as far as the core has them.
  let registers: [ThreadRegisters]
  /// The entry point of the program, 0 if unknown.
  let entry: UInt
  /// Which file supplies the pages of a module that the core leaves out, found at the first need, by the module's base.
  /// nil as a value: none does.
  let files = Mutex<[UInt: FileBytes?]>([:])

  /// Costs a read of the tables, whatever the size of the rest. Throws `cannotOpen`, `notACore`,
  /// and `truncatedCore` if the tables themselves are cut off.
  public init(path: String) throws(InspectionError) {
    let file = try FileBytes(path: path)
    let header = try Self.header(of: file)
    var segments: [CoreSegment] = []
    var notes: [ProgramHeader] = []
    var truncated = false
    for entry in try Self.programHeaders(of: file, header) {
      let (fileEnd, overflow) = entry.offset.addingReportingOverflow(entry.fileBytes)
      if entry.fileBytes > 0 && (overflow || fileEnd > file.size) { truncated = true }
      if entry.type == Elf.note { notes.append(entry) }
      if entry.type == Elf.load, let segment = CoreSegment(entry) { segments.append(segment) }
    }
    // Sorted already, in every core that a system writes.
    segments.sort { $0.start < $1.start }
    var parser = CoreNotes(file: file)
    for note in notes { parser.parse(note) }
    self.path = path
    self.file = file
    self.segments = segments
    isTruncated = truncated
    identity = parser.identity
    entry = parser.entry
    registers = parser.registers
    mappedFiles = parser.mappedFiles.sorted { $0.start < $1.start }
  }

  /// True if the file begins like an ELF file: for a command whose argument may be a PID, a core or nonsense.
  public static func looksLikeElf(path: String) -> Bool {
    guard let file = try? FileBytes(path: path), let magic = try? file.read(UInt32.self, at: 0) else { return false }
    return magic == ElfHeader(magic: 0x464c_457f).magic
  }

  public var name: String {
    identity.name.isEmpty ? path : "\(path) (core of \(identity.name))"
  }

  public var process: Int32 { identity.process }

  private static func header(of file: FileBytes) throws(InspectionError) -> ElfHeader {
    guard let magic = try? file.read(UInt32.self, at: 0) else {
      throw .notACore(path: file.path, reason: "it has fewer than 4 bytes")
    }
    // Cores are often kept compressed; say what to do about it.
    switch magic {
    case 0xfd2f_b528: throw .notACore(path: file.path, reason: "it is compressed; unpack it first (zstd -d, or coredumpctl dump)")
    case 0x184d_2204: throw .notACore(path: file.path, reason: "it is compressed; unpack it first (lz4 -d, or coredumpctl dump)")
    case 0x587a_37fd: throw .notACore(path: file.path, reason: "it is compressed; unpack it first (xz -d, or coredumpctl dump)")
    case let word where word & 0xffff == 0x8b1f:
      throw .notACore(path: file.path, reason: "it is compressed; unpack it first (gzip -d)")
    default: break
    }
    guard ElfHeader(magic: magic).hasMagic else { throw .notACore(path: file.path, reason: "it is not in ELF format") }
    guard let header = try? file.read(ElfHeader.self, at: 0) else { throw .truncatedCore(path: file.path, address: nil) }
    if let fault = header.fault { throw .notACore(path: file.path, reason: fault) }
    guard header.type == Elf.core else {
      let isProgram = header.type == Elf.executable || header.type == Elf.shared
      throw .notACore(
        path: file.path,
        reason: isProgram ? "it is a program or a library; to watch it, start it with `stave run -- \(file.path)`"
          : "its ELF type is \(header.type), a core's is 4")
    }
    return header
  }

  private static func programHeaders(of file: FileBytes, _ header: ElfHeader) throws(InspectionError) -> [ProgramHeader] {
    var count = Int(header.programHeaderCount)
    if header.programHeaderCount == Elf.extendedCount {
      guard let offset = UInt(exactly: header.sectionHeaders), let first = try? file.read(SectionHeader.self, at: offset) else {
        throw .truncatedCore(path: file.path, address: nil)
      }
      count = Int(first.info)
    }
    guard count > 0 else { throw .notACore(path: file.path, reason: "it has no segments") }
    // The table must be in the file, which also bounds the memory that it takes here.
    let (end, overflow) = header.programHeaders.addingReportingOverflow(UInt64(count) * UInt64(ProgramHeader.bytes))
    guard !overflow, end <= file.size else { throw .truncatedCore(path: file.path, address: nil) }
    do throws(InspectionError) {
      return try file.readArray(ProgramHeader.self, at: UInt(header.programHeaders), count: count, limit: count)
    } catch { throw .truncatedCore(path: file.path, address: nil) }
  }
}

/// A range of memory in the core: [start, end), of which the part up to `dumpedEnd` is in the file at `offset`.
struct CoreSegment {
  var start: UInt
  var end: UInt
  var dumpedEnd: UInt
  var offset: UInt
  var flags: UInt32

  /// nil for a segment that is empty or lies outside the address space.
  init?(_ header: ProgramHeader) {
    let start = UInt(header.virtualAddress)
    let (end, overflow) = start.addingReportingOverflow(UInt(max(header.memoryBytes, header.fileBytes)))
    guard !overflow, start < end, !header.offset.addingReportingOverflow(header.fileBytes).overflow else { return nil }
    self.start = start
    self.end = end
    dumpedEnd = start + UInt(header.fileBytes)
    offset = UInt(header.offset)
    flags = header.flags
  }
}
