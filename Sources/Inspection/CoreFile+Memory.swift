// SPDX-License-Identifier: BSD-2-Clause
//
// Memory of a core. Order of tries for each address: the bytes in the core; else, for memory that was mapped from a program
// or library and not written to, that file, if it is still the same one.
//
// "The same" means: equal build ids, where the core holds the page with the image's build id (kernels write the first page
// of every image, see coredump_filter) and the file has one; else an equal ELF header, and a file that is long enough and
// was not changed after the core was written. Other mapped files are never used: data may have changed since.
// Memory that is neither is an error, not zeros: Stave leaves free memory out of cores.

import Glibc
import Synchronization

extension CoreFile {
  public func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    guard !address.addingReportingOverflow(UInt(buffer.count)).overflow else {
      throw .shortRead(address: address, wanted: buffer.count, got: 0)
    }
    var done = 0
    while done < buffer.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
      let position = address + UInt(done)
      var count = try readDumped(into: rest, at: position)
      if count == 0 { count = try readFromFile(into: rest, at: position) }
      if count == 0 {
        if segment(containing: position) != nil { throw .notInCore(path: path, address: position) }
        throw .shortRead(address: address, wanted: buffer.count, got: done)
      }
      done += count
    }
  }

  /// The last segment that begins at or before `address` and contains it.
  private func segment(containing address: UInt) -> CoreSegment? {
    var low = 0
    var high = segments.count
    while low < high {
      let middle = low + (high - low) / 2
      if segments[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0, address < segments[low - 1].end else { return nil }
    return segments[low - 1]
  }

  /// From the core itself. How much of the beginning could be read; 0 if `address` was not dumped.
  private func readDumped(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) -> Int {
    guard let segment = segment(containing: address), address < segment.dumpedEnd else { return 0 }
    let count = min(buffer.count, Int(clamping: segment.dumpedEnd - address))
    let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    // No overflow: the segment's offset plus its length was checked when it was made.
    let got = file.readPrefix(into: piece, at: segment.offset + (address - segment.start))
    if got < count { throw .truncatedCore(path: path, address: address + UInt(got)) }
    return count
  }

  /// From the module's file. 0 if there is none that fits.
  private func readFromFile(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) -> Int {
    guard let mapped = mappedFile(containing: address) else { return 0 }
    guard let base = moduleBase(of: mapped), let source = matchingFile(mapped.path, base: base) else { return 0 }
    let (offset, overflow) = mapped.offset.addingReportingOverflow(UInt64(address - mapped.start))
    if overflow { return 0 }
    var count = min(buffer.count, Int(clamping: mapped.end - address))
    // Not into the next segment, which may have been dumped.
    if let segment = segment(containing: address) { count = min(count, Int(clamping: segment.end - address)) }
    let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    let got = source.readPrefix(into: piece, at: UInt(offset))
    if got == count { return count }
    // The last page of a mapping goes on with zeros where the file ends.
    guard offset <= source.size | 4095, offset + UInt64(got) >= source.size, source.size & 4095 != 0 else { return got }
    let zeros = min(count - got, 4096 - Int((offset + UInt64(got)) & 4095))
    for index in got..<(got + zeros) { piece[index] = 0 }
    return got + zeros
  }

  private func mappedFile(containing address: UInt) -> MappedFile? {
    var low = 0
    var high = mappedFiles.count
    while low < high {
      let middle = low + (high - low) / 2
      if mappedFiles[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0, address < mappedFiles[low - 1].end else { return nil }
    return mappedFiles[low - 1]
  }

  /// Where the file's first byte is mapped: the nearest such mapping of the same path at or below.
  private func moduleBase(of mapped: MappedFile) -> UInt? {
    mappedFiles.last { $0.start <= mapped.start && $0.offset == 0 && $0.path == mapped.path }?.start
  }

  private func matchingFile(_ path: String, base: UInt) -> FileBytes? {
    files.withLock { files in
      if let known = files[base] { return known }
      let found = openIfSame(path, base: base)
      // A core names some hundred files; a hostile one names millions. Descriptors are worth more than a second look.
      if files.count < 256 { files[base] = .some(found) }
      return found
    }
  }

  /// Only what the core itself holds: the comparison must not be made with the file's own bytes.
  private struct Dumped: ByteSource {
    let core: CoreFile
    func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
      guard buffer.count > 0 else { return }
      let got = try core.readDumped(into: buffer, at: address)
      if got < buffer.count { throw .notInCore(path: core.path, address: address &+ UInt(got)) }
    }
  }

  private func openIfSame(_ path: String, base: UInt) -> FileBytes? {
    guard path.hasPrefix("/"), !path.hasPrefix("/dev/"), !path.hasPrefix("/proc/"), let candidate = try? FileBytes(path: path),
      let elf = try? ElfFile(candidate)
    else { return nil }
    let dumped = Dumped(core: self)
    if let image = try? ElfImage(in: dumped, at: base), let before = image.buildID(), let now = elf.buildID() {
      return before == now ? candidate : nil
    }
    // Without build ids. The header holds the place of the section table, which moves with almost any change.
    if let before = try? dumped.readArray(UInt8.self, at: base, count: ElfHeader.bytes, limit: ElfHeader.bytes) {
      guard let now = try? candidate.readArray(UInt8.self, at: 0, count: ElfHeader.bytes, limit: ElfHeader.bytes),
        before == now
      else { return nil }
    }
    let needed = mappedFiles.filter { $0.path == path }.map(\.offset).max() ?? 0
    return needed < candidate.size && candidate.modified <= file.modified ? candidate : nil
  }

  public func file(of module: Module) -> FileBytes? { matchingFile(module.path, base: module.base) }

  /// Segments with the names of the files mapped there, and files that have no segment. An address is in at most one.
  public func mappings() throws(InspectionError) -> [Mapping] {
    var result: [Mapping] = []
    var next = 0
    // Two sorted lists; where a segment begins inside or at a file's range, it takes that range's name.
    for segment in segments {
      while next < mappedFiles.count, mappedFiles[next].end <= segment.start {
        append(mappedFiles[next], to: &result)
        next += 1
      }
      let named = mappedFile(containing: segment.start)
      let offset = named.map { $0.offset.addingReportingOverflow(UInt64(segment.start - $0.start)).partialValue } ?? 0
      append(
        Mapping(
          start: segment.start, end: segment.end, offset: offset, isReadable: segment.flags & Elf.readFlag != 0,
          isWritable: segment.flags & Elf.writeFlag != 0, isExecutable: segment.flags & Elf.executeFlag != 0,
          path: named?.path ?? ""), to: &result)
    }
    for file in mappedFiles[next...] { append(file, to: &result) }
    return result
  }

  private func append(_ file: MappedFile, to result: inout [Mapping]) {
    append(Mapping(start: file.start, end: file.end, offset: file.offset, isReadable: true, path: file.path), to: &result)
  }

  /// Leaves out what overlaps the last one, so that the list stays in order.
  private func append(_ mapping: Mapping, to result: inout [Mapping]) {
    if let last = result.last, mapping.start < last.end { return }
    result.append(mapping)
  }

  /// Every mapping that begins a file; where no note names files, every mapping that begins like an ELF image.
  public func modules(among mappings: [Mapping]) -> [Module] {
    mappings.compactMap { mapping in
      guard mapping.offset == 0, mapping.path.isEmpty ? mappedFiles.isEmpty : mapping.isFile else { return nil }
      guard let header = try? read(UInt32.self, at: mapping.start), ElfHeader(magic: header).hasMagic else { return nil }
      return Module(path: mapping.path, base: mapping.start)
    }
  }

  public var executablePath: String? {
    guard entry != 0 else { return nil }
    return mappedFile(containing: entry)?.path
  }
}
