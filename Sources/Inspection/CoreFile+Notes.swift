// SPDX-License-Identifier: BSD-2-Clause
//
// The notes of a core: NT_PRPSINFO (name, arguments, PID), NT_PRSTATUS (one per thread: its number, the signal), NT_AUXV
// (where the program's entry is) and NT_FILE (which file is mapped where). All of it is optional, and all of it may lie.

public struct CoreIdentity: Equatable, Sendable {
  /// 0 if unknown.
  public var process: Int32 = 0
  /// The command's name, at most 15 bytes.
  public var name = ""
  /// The beginning of its command line, at most 80 bytes.
  public var arguments = ""
  /// The signal that ended it; 0 in a core that was taken from a process that went on.
  public var signal: Int32 = 0
  /// Threads it had.
  public var threads = 0
}

/// One line of NT_FILE: [start, end) is mapped from `path` at `offset` bytes.
struct MappedFile {
  var start: UInt
  var end: UInt
  var offset: UInt64
  var path: String
}

struct CoreNotes {
  let file: FileBytes
  var identity = CoreIdentity()
  var mappedFiles: [MappedFile] = []
  /// Of each thread that has a note of them.
  var registers: [ThreadRegisters] = []
  /// The program's entry point, which tells which of the mapped files the program is.
  var entry: UInt = 0

  init(file: FileBytes) { self.file = file }

  private enum Kind {
    static let status: UInt32 = 1
    static let vectors: UInt32 = 2
    static let info: UInt32 = 3
    static let auxiliary: UInt32 = 6
    static let files: UInt32 = 0x4649_4c45
  }

  mutating func parse(_ segment: ProgramHeader) {
    guard let offset = UInt(exactly: segment.offset) else { return }
    // Linux aligns the notes of cores to 4, whatever the segment says.
    var notes: [ElfNote] = []
    try? file.forEachNote(at: offset, length: segment.fileBytes, alignment: 4) { note throws(InspectionError) in
      if note.name == "CORE" { notes.append(note) }
      return notes.count < 100_000
    }
    for note in notes {
      switch note.type {
      case Kind.status: parseStatus(note)
      case Kind.vectors: parseVectors(note)
      case Kind.info: parseInfo(note)
      case Kind.auxiliary: parseAuxiliary(note)
      case Kind.files: parseFiles(note)
      default: break
      }
    }
  }

  // elf_prstatus of 64-bit Linux, the same on every architecture up to here: siginfo (12 bytes), the signal (16 bits), two
  // words of masks, then the thread's number at 32. The first note is that of the thread that ended the process.
  private mutating func parseStatus(_ note: ElfNote) {
    identity.threads += 1
    parseRegisters(note)
    guard identity.threads == 1, note.descriptorBytes >= 36 else { return }
    identity.signal = Int32((try? file.read(Int16.self, at: note.descriptor &+ 12)) ?? 0)
    if identity.process == 0 { identity.process = (try? file.read(Int32.self, at: note.descriptor &+ 32)) ?? 0 }
  }

  // Behind the thread's number three others of its kind, and four times of two words each; so the registers are at 112.
  private mutating func parseRegisters(_ note: ElfNote) {
    let count = ThreadRegisters.general
    guard note.descriptorBytes >= 112 + count * 8,
      let words = try? file.readArray(UInt.self, at: note.descriptor &+ 112, count: count, limit: count), let thread = ThreadRegisters(words: words)
    else { return }
    registers.append(thread)
  }

  /// NT_FPREGSET, of the thread whose status came last.
  private mutating func parseVectors(_ note: ElfNote) {
    guard !registers.isEmpty, let words = try? file.readArray(UInt.self, at: note.descriptor, count: min(128, note.descriptorBytes / 8), limit: 128)
    else { return }
    registers[registers.count - 1].words += words
  }

  // elf_prpsinfo: state and flags (16 bytes), user and group, the PID at 24, the name (16 bytes) at 40, arguments (80) at 56.
  private mutating func parseInfo(_ note: ElfNote) {
    guard note.descriptorBytes >= 136 else { return }
    if let process = try? file.read(Int32.self, at: note.descriptor &+ 24) { identity.process = process }
    identity.name = (try? file.readString(at: note.descriptor &+ 40, limit: 16)) ?? ""
    identity.arguments = (try? file.readString(at: note.descriptor &+ 56, limit: 80)) ?? ""
  }

  private mutating func parseAuxiliary(_ note: ElfNote) {
    let count = min(note.descriptorBytes / 16, 256)
    guard let pairs = try? file.readArray(DynamicEntry.self, at: note.descriptor, count: count, limit: 256) else { return }
    for pair in pairs where pair.tag == 9 { entry = UInt(pair.value) }
  }

  // Two words: how many, and the unit of offsets. Then start, end, offset for each. Then the names, each with a zero.
  private mutating func parseFiles(_ note: ElfNote) {
    guard note.descriptorBytes >= 16, let bytes = try? file.readArray(
      UInt8.self, at: note.descriptor, count: note.descriptorBytes, limit: 256 << 20) else { return }
    func word(_ index: Int) -> UInt64 {
      bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) }
    }
    let unit = word(1)
    guard let count = Int(exactly: word(0)), count >= 0, count <= min(1 << 20, (bytes.count - 16) / 24)
    else { return }
    var nameStart = 16 + count * 24
    for index in 0..<count {
      guard let nameEnd = bytes[nameStart...].firstIndex(of: 0) else { return }
      let path = String(decoding: bytes[nameStart..<nameEnd], as: UTF8.self)
      nameStart = nameEnd + 1
      let start = UInt(word(2 + index * 3))
      let end = UInt(word(3 + index * 3))
      let (offset, overflow) = word(4 + index * 3).multipliedReportingOverflow(by: unit)
      if start < end && !overflow { mappedFiles.append(MappedFile(start: start, end: end, offset: offset, path: path)) }
    }
  }
}
