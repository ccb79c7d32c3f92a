// SPDX-License-Identifier: BSD-2-Clause
//
// The seam between what is read and where it comes from: `ByteSource` is anything with bytes at addresses (a target's
// memory, or a file whose addresses are offsets), `TargetMemory` a whole target with its map and its modules. A new kind
// of target (a remote stub, a snapshot in a file) has to satisfy this file and nothing else.
//
// Reads copy. Nothing here ever hands out a pointer into the target, so what was checked stays checked.

/// Bytes at addresses.
public protocol ByteSource {
  /// Fills `buffer` with the bytes from `address` on, all of it or an error: `shortRead` says how much there was. What the
  /// buffer holds after an error is unspecified. An empty buffer always succeeds.
  func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError)
}

/// A process, live or dead, whose memory can be read.
public protocol TargetMemory: ByteSource, Sendable {
  /// For messages: "process 12 (redis-server)", "core.12".
  var name: String { get }
  /// Its PID; in a core file the PID that it had, 0 if unknown.
  var process: Int32 { get }
  /// Path of the program, as the target sees it; nil if unknown.
  var executablePath: String? { get }

  /// Reads many ranges, at little more than the cost of copying. Element i of the result says whether request i was
  /// filled. Only what concerns the whole target (it ended, no permission) is thrown: that one range has gone is normal
  /// in a process that runs.
  func read(batch: [ReadRequest]) throws(InspectionError) -> [Bool]

  /// The address space in order of addresses. Costs a read of all of it: for a large process some milliseconds.
  func mappings() throws(InspectionError) -> [Mapping]

  /// What may be an ELF image among `mappings`, in order of addresses; not all of them are, and a small one's
  /// first page can be there twice, of which the lower is the one that counts. Reads nothing, or little.
  func modules(among mappings: [Mapping]) -> [Module]

  /// The file that `module` was loaded from, if it can be opened from here and is still the same.
  func file(of module: Module) -> FileBytes?
}

/// One range of a batch. The destination must stay valid until the call returns.
public struct ReadRequest {
  public var address: UInt
  public var destination: UnsafeMutableRawBufferPointer

  public init(address: UInt, destination: UnsafeMutableRawBufferPointer) {
    self.address = address
    self.destination = destination
  }
}

/// A program or library in the target.
public struct Module: Equatable, Sendable {
  /// As the target sees it; empty if unknown.
  public var path: String
  /// Where the start of its file is mapped.
  public var base: UInt

  public init(path: String, base: UInt) {
    self.path = path
    self.base = base
  }
}

extension ByteSource {
  /// The value at `address`. `Value` must be meaningful for every bit pattern: integers, and structures of them; the
  /// target's bytes are not checked. No alignment is asked for.
  public func read<Value: BitwiseCopyable>(_ type: Value.Type, at address: UInt) throws(InspectionError) -> Value {
    var failure: InspectionError?
    let value = withUnsafeTemporaryAllocation(of: Value.self, capacity: 1) { space -> Value? in
      do throws(InspectionError) {
        // The size, not the stride: what follows a last structure need not be mapped.
        let bytes = UnsafeMutableRawBufferPointer(start: UnsafeMutableRawPointer(space.baseAddress!), count: MemoryLayout<Value>.size)
        try read(into: bytes, at: address)
        return space[0]
      } catch {
        failure = error
        return nil
      }
    }
    if let failure { throw failure }
    return value!
  }

  /// `count` values in a row. Throws `damaged` above `limit`, so that a count from the target cannot use up this process's
  /// memory.
  public func readArray<Value: BitwiseCopyable>(
    _ type: Value.Type, at address: UInt, count: Int, limit: Int
  ) throws(InspectionError) -> [Value] {
    guard count >= 0, count <= limit, count <= Int.max / 2 / max(1, MemoryLayout<Value>.stride) else {
      throw .damaged("a table of \(count) entries at \(address.hexadecimal), where at most \(limit) make sense")
    }
    if count == 0 { return [] }
    var failure: InspectionError?
    let values = [Value](unsafeUninitializedCapacity: count) { space, filled in
      do throws(InspectionError) {
        let bytes = UnsafeMutableRawBufferPointer(
          start: UnsafeMutableRawPointer(space.baseAddress!), count: count * MemoryLayout<Value>.stride)
        try read(into: bytes, at: address)
        filled = count
      } catch {
        failure = error
        filled = 0
      }
    }
    if let failure { throw failure }
    return values
  }

  /// The text up to the next zero byte, at most `limit` bytes of it: longer text is cut there. Reads no page beyond the one
  /// in which the text ends. Invalid UTF-8 is repaired.
  public func readString(at address: UInt, limit: Int = 4096) throws(InspectionError) -> String {
    var text: [UInt8] = []
    var position = address
    while text.count < limit {
      // Up to a boundary of 4 KiB, the smallest page there is; the first step is short because most names are.
      let toBoundary = 4096 - Int(position & 4095)
      let step = min(toBoundary, limit - text.count, text.isEmpty ? 64 : 4096)
      let piece = try readArray(UInt8.self, at: position, count: step, limit: 4096)
      if let end = piece.firstIndex(of: 0) {
        text += piece[..<end]
        break
      }
      text += piece
      let (next, overflow) = position.addingReportingOverflow(UInt(step))
      if overflow { break }
      position = next
    }
    return String(decoding: text, as: UTF8.self)
  }
}

extension TargetMemory {
  /// The values at each of `addresses`, nil where the memory is gone. One batch: thousands cost a few system calls in a live
  /// process. The rule for `Value` is that of `read(_:at:)`.
  public func read<Value: BitwiseCopyable>(_ type: Value.Type, at addresses: [UInt]) throws(InspectionError) -> [Value?] {
    if addresses.isEmpty { return [] }
    let space = UnsafeMutableBufferPointer<Value>.allocate(capacity: addresses.count)
    defer { space.deallocate() }
    let raw = UnsafeMutableRawBufferPointer(space)
    let stride = MemoryLayout<Value>.stride
    let requests = addresses.indices.map { index in
      ReadRequest(
        address: addresses[index],
        destination: UnsafeMutableRawBufferPointer(
          start: raw.baseAddress.map { $0 + index * stride }, count: MemoryLayout<Value>.size))
    }
    let filled = try read(batch: requests)
    return addresses.indices.map { filled[$0] ? space[$0] : nil }
  }

  /// One read after the other: for targets where a read costs no system call worth saving.
  public func read(batch: [ReadRequest]) throws(InspectionError) -> [Bool] {
    var filled: [Bool] = []
    filled.reserveCapacity(batch.count)
    for request in batch {
      do throws(InspectionError) {
        try read(into: request.destination, at: request.address)
        filled.append(true)
      } catch {
        if case .noSuchProcess = error { throw error }
        if case .permissionDenied = error { throw error }
        filled.append(false)
      }
    }
    return filled
  }

  /// Files that are mapped from their start and have executable pages: data files are not looked at.
  public func modules(among mappings: [Mapping]) -> [Module] {
    var executable: Set<String> = []
    for mapping in mappings where mapping.isExecutable && mapping.isFile { executable.insert(mapping.path) }
    return mappings.compactMap { mapping in
      mapping.offset == 0 && executable.contains(mapping.path) ? Module(path: mapping.path, base: mapping.start) : nil
    }
  }
}
