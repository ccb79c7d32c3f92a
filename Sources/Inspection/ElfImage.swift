// SPDX-License-Identifier: BSD-2-Clause
//
// A program or library as it lies in a target's memory, found from the address at which its file begins: its program
// headers, its place, its dynamic section, its build id. ElfImage+Symbols.swift looks up symbols in it.
//
//   base ┌────────────┐  the file's first byte      address in memory = bias + address in the file's headers
//        │ ELF header │                             base = bias + (virtual address of the segment with offset 0)
//        │ headers    │
//        │ notes …    │
//        ├────────────┤
//        │ code       │
//        ├────────────┤
//        │ data       │  the dynamic section is in here

struct ElfImage {
  let target: any ByteSource
  let base: UInt
  /// To be added to every address in the image's own tables, modulo 2^64.
  let bias: UInt
  /// The span of its loaded segments in memory, [low, high).
  let low: UInt
  let high: UInt
  let type: UInt16
  let programHeaders: [ProgramHeader]

  /// Costs two reads. Throws `badImage` if no usable ELF image is at `base`, and what the target's reads throw.
  init(in target: any ByteSource, at base: UInt) throws(InspectionError) {
    let header = try target.read(ElfHeader.self, at: base)
    if let fault = header.fault { throw .badImage(address: base, reason: fault) }
    guard header.type == Elf.executable || header.type == Elf.shared else {
      throw .badImage(address: base, reason: "it is neither a program nor a library")
    }
    guard let offset = UInt(exactly: header.programHeaders), !base.addingReportingOverflow(offset).overflow else {
      throw .badImage(address: base, reason: "its program headers lie outside the address space")
    }
    // A real image has about ten; the count is 16 bits, so it needs no other bound.
    let headers = try target.readArray(
      ProgramHeader.self, at: base + offset, count: Int(header.programHeaderCount), limit: 0xffff)
    guard let first = headers.first(where: { $0.type == Elf.load && $0.offset < 4096 && $0.fileBytes > 0 }) else {
      throw .badImage(address: base, reason: "no loaded segment holds its header")
    }
    let bias = base &- (UInt(first.virtualAddress) &- UInt(first.offset))
    var low = UInt.max
    var high: UInt = 0
    for header in headers where header.type == Elf.load {
      let (end, overflow) = header.virtualAddress.addingReportingOverflow(header.memoryBytes)
      if overflow { throw .badImage(address: base, reason: "a segment lies outside the address space") }
      low = min(low, UInt(header.virtualAddress))
      high = max(high, UInt(end))
    }
    self.target = target
    self.base = base
    self.bias = bias
    self.low = bias &+ low
    self.high = bias &+ high
    self.type = header.type
    programHeaders = headers
    guard self.low < self.high else { throw .badImage(address: base, reason: "its segments lie outside the address space") }
  }

  /// Where an address from the image's tables is in memory.
  func address(of value: UInt64) -> UInt { bias &+ UInt(value) }

  func contains(_ address: UInt) -> Bool { low <= address && address < high }

  /// The GNU build id, nil if the image has none.
  func buildID() -> [UInt8]? {
    for header in programHeaders where header.type == Elf.note {
      let found = target.buildID(
        inNotesAt: address(of: header.virtualAddress), length: header.memoryBytes, alignment: header.alignment)
      if let found { return found }
    }
    return nil
  }

  /// The entries of the dynamic section that the reader knows, by tag; empty for a static program.
  func dynamicEntries() throws(InspectionError) -> [UInt64: UInt64] {
    var result: [UInt64: UInt64] = [:]
    guard let header = programHeaders.first(where: { $0.type == Elf.dynamic }) else { return result }
    let known = [Elf.tagHash, Elf.tagStrings, Elf.tagSymbols, Elf.tagStringBytes, Elf.tagGnuHash]
    // Some 40 entries are usual.
    let count = Int(min(header.memoryBytes / UInt64(MemoryLayout<DynamicEntry>.size), 4096))
    let entries = try target.readArray(DynamicEntry.self, at: address(of: header.virtualAddress), count: count, limit: 4096)
    for entry in entries {
      if entry.tag == Elf.tagNull { break }
      if known.contains(entry.tag) { result[entry.tag] = entry.value }
    }
    return result
  }

  /// A pointer from the dynamic section. glibc's loader replaces the file's addresses there by memory addresses, others
  /// leave them, and so does the kernel in the vdso: an address inside the image has been replaced.
  func resolve(_ pointer: UInt64) -> UInt? {
    if contains(UInt(pointer)) { return UInt(pointer) }
    let moved = address(of: pointer)
    return contains(moved) ? moved : nil
  }
}
