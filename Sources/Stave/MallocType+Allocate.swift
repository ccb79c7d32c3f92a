// SPDX-License-Identifier: BSD-2-Clause
//
// Blocks of a type, one at a time: malloc(9)'s calls for Swift. They are malloc's blocks in all else: free takes them, and Swift's own
// deallocate does.

internal import StaveC

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

extension MallocType {
  /// How a request behaves.
  public struct Request: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// Blocks the thread until there is memory; the answer is nil only for what can never be had. Without this a request that cannot be
    /// served at once is nil. Not for asynchronous code, whose other tasks need the thread. Without Stave it has no effect.
    public static let wait = Request(rawValue: 1)
    /// The memory is zero.
    public static let zero = Request(rawValue: 2)

    fileprivate var flags: Int32 {
      Int32((contains(.wait) ? STAVE_WAITOK : STAVE_NOWAIT) | (contains(.zero) ? STAVE_ZERO : 0))
    }
  }

  /// `byteCount` bytes of this type, uninitialised unless `.zero` is asked for; nil when there is no memory. 0 bytes are a block, too.
  /// As fast as malloc. Traps if `byteCount` is negative, or `alignment` no power of two up to 4096.
  public func allocate(byteCount: Int, alignment: Int = 16, _ request: Request = []) -> UnsafeMutableRawPointer? {
    precondition(byteCount >= 0, "a block of less than no bytes")
    precondition(alignment > 0 && alignment <= 4096 && alignment & (alignment - 1) == 0, "an alignment is a power of two up to 4096")
    // A block is aligned to each power of two, up to a page, that divides its size.
    let (bytes, overflow) = max(byteCount, 1).addingReportingOverflow(alignment - 1)
    guard !overflow else { return nil }
    let size = alignment <= 16 ? byteCount : bytes & ~(alignment - 1)
    if let malloc = Library.functions?.malloc { return malloc(size, structure, request.flags) }
    guard let block = alignment <= 16 ? Self.plain(size, request) : aligned_alloc(alignment, size) else { return nil }
    if request.contains(.zero) && alignment > 16 { memset(block, 0, size) }
    return block
  }

  /// Room for `capacity` values, uninitialised unless `.zero` is asked for; nil when there is no memory, or no number for so many bytes.
  /// Traps as ``allocate(byteCount:alignment:_:)`` does.
  public func allocate<Value: ~Copyable>(
    _: Value.Type = Value.self, capacity: Int, _ request: Request = []
  ) -> UnsafeMutablePointer<Value>? {
    let (bytes, overflow) = MemoryLayout<Value>.stride.multipliedReportingOverflow(by: capacity)
    guard !overflow else { return nil }
    return allocate(byteCount: bytes, alignment: MemoryLayout<Value>.alignment, request)?.bindMemory(to: Value.self, capacity: capacity)
  }

  /// The block with another size, perhaps elsewhere, its contents copied; aligned to 16. Nil when there is no memory: then the block is
  /// as it was. A block that moves is of this type from then on; one that stays keeps the type it has. A nil block is a new one.
  /// `.zero` does not reach what a block grows by.
  public func reallocate(_ block: UnsafeMutableRawPointer?, byteCount: Int, _ request: Request = []) -> UnsafeMutableRawPointer? {
    precondition(byteCount >= 0, "a block of less than no bytes")
    guard let reallocate = Library.functions?.realloc else { return realloc(block, max(byteCount, 1)) }
    return reallocate(block, byteCount, structure, request.subtracting(.zero).flags)
  }

  /// Frees a block, of whatever type: it is charged back to the one that allocated it. Nil does nothing. Values in it are not
  /// deinitialised. A pointer that is no block's beginning ends the process with a report.
  public func deallocate(_ block: UnsafeMutableRawPointer?) { free(block) }

  /// Frees a block, as above.
  public func deallocate<Value: ~Copyable>(_ block: UnsafeMutablePointer<Value>?) { free(UnsafeMutableRawPointer(block)) }

  private static func plain(_ size: Int, _ request: Request) -> UnsafeMutableRawPointer? {
    request.contains(.zero) ? calloc(max(size, 1), 1) : malloc(max(size, 1))
  }
}

/// One system call: nothing is allocated, nothing buffered.
func write(_ text: String, to file: Int32) {
  var text = text
  text.withUTF8 { bytes in _ = write(file, bytes.baseAddress, bytes.count) }
}
