// SPDX-License-Identifier: BSD-2-Clause
//
// A file that is read piece by piece at offsets, and the reading of the kernel's small text files in one go.
//
// By pread, not by mmap: a mapped file that someone shortens meanwhile (a core that is being rotated, a library that is
// being replaced) raises SIGBUS in the reader. A pread from the page cache costs some 0.5 µs per header, which no table
// needs enough of to notice. Only regular files are opened: a core's table of files may name a device or a pipe.

import Glibc

public final class FileBytes: ByteSource, Sendable {
  public let path: String
  /// In bytes, when it was opened.
  public let size: UInt64
  /// Seconds since 1970 of its last change.
  public let modified: Int64
  private let descriptor: Int32

  /// Throws `cannotOpen`, with EINVAL for what is no regular file.
  public init(path: String) throws(InspectionError) {
    var status = stat()
    // Asked before the open, which by itself would block on a pipe, or start whatever a device does when it is opened.
    guard stat(path, &status) == 0 else { throw .cannotOpen(path: path, errno: errno) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw .cannotOpen(path: path, errno: status.st_mode & S_IFMT == S_IFDIR ? EISDIR : EINVAL)
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .cannotOpen(path: path, errno: errno) }
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw .cannotOpen(path: path, errno: EINVAL)
    }
    self.path = path
    self.descriptor = descriptor
    size = UInt64(max(0, status.st_size))
    modified = Int64(status.st_mtim.tv_sec)
  }

  deinit { close(descriptor) }

  /// `address` is the offset in the file.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    let got = readPrefix(into: buffer, at: address)
    if got < buffer.count { throw .shortRead(address: address, wanted: buffer.count, got: got) }
  }

  /// Reads as much as there is and returns how much that was.
  func readPrefix(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt) -> Int {
    readAt(descriptor, into: buffer, at: offset)
  }
}

/// pread until the buffer is full, the file ends, or an error. Offsets that off_t does not hold read nothing.
func readAt(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt) -> Int {
  guard let start = buffer.baseAddress, let first = off_t(exactly: offset) else { return 0 }
  var done = 0
  while done < buffer.count {
    let (position, overflow) = first.addingReportingOverflow(off_t(done))
    if overflow { break }
    let count = pread(descriptor, start + done, buffer.count - done, position)
    if count < 0 && errno == EINTR { continue }
    if count <= 0 { break }
    done += count
  }
  return done
}

/// A file without a known size, such as those under /proc. Returns nil with errno set if it cannot be opened or read, and
/// the first `limit` bytes if it is longer.
func readSmallFile(_ path: String, limit: Int = 64 << 20) -> [UInt8]? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var content: [UInt8] = []
  var failure: Int32 = 0
  // Larger with each step: most files fit the first, and a large map takes few calls.
  var step = 4096
  while content.count < limit {
    let want = min(step, limit - content.count)
    let piece = [UInt8](unsafeUninitializedCapacity: want) { space, filled in
      var count = Glibc.read(descriptor, space.baseAddress, want)
      while count < 0 && errno == EINTR { count = Glibc.read(descriptor, space.baseAddress, want) }
      if count < 0 { failure = errno }
      filled = max(0, count)
    }
    if failure != 0 {
      errno = failure
      return nil
    }
    if piece.isEmpty { break }
    content += piece
    step = min(step * 2, 1 << 20)
  }
  return content
}

/// The target of a symbolic link; nil if it cannot be read.
func readLink(_ path: String) -> String? {
  let bytes = [UInt8](unsafeUninitializedCapacity: 4096) { space, filled in
    let count = space.withMemoryRebound(to: CChar.self) { readlink(path, $0.baseAddress!, 4096) }
    filled = max(0, count)
  }
  return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
}
