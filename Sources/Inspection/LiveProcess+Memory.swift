// SPDX-License-Identifier: BSD-2-Clause
//
// Reading a live process's memory, one range or thousands per call, and writing a few bytes of it.
//
// process_vm_readv stops at the first byte that it cannot read and returns what it got before that; only if that is
// nothing does it return EFAULT. So after a short answer the range in which it stopped is known to be the bad one, and the
// next call goes on behind it: a batch costs one call per 1,024 ranges plus one per range that is gone.

import CPlatform
import Glibc

extension LiveProcess {
  enum Direction { case read, write }

  /// The kernel takes that many ranges in one call (UIO_MAXIOV)…
  private static var mostRanges: Int { 1024 }
  /// …and that many bytes (MAX_RW_COUNT is just below 2 GiB); larger reads take several calls.
  private static var mostBytes: Int { 1 << 30 }

  /// One system call; at most `mostRanges` requests. Bytes moved, or -errno.
  static func transfer(_ direction: Direction, _ process: Int32, _ requests: ArraySlice<ReadRequest>) -> Int {
    let number = direction == .read ? SYS_process_vm_readv : SYS_process_vm_writev
    return withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2 * requests.count) { vectors in
      var index = 0
      for request in requests {
        vectors.initializeElement(at: index, to: iovec(iov_base: request.destination.baseAddress, iov_len: request.destination.count))
        // An address in the other process: only the kernel may follow it.
        vectors.initializeElement(
          at: requests.count + index,
          to: iovec(iov_base: UnsafeMutableRawPointer(bitPattern: request.address), iov_len: request.destination.count))
        index += 1
      }
      let local = Int(bitPattern: vectors.baseAddress)
      let remote = local + requests.count * MemoryLayout<iovec>.stride
      return stave_syscall6(Int(number), Int(process), local, requests.count, remote, requests.count, 0)
    }
  }

  /// Reads as much as there is from `address` on; the count, which is short where memory ends.
  private func readPrefix(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) -> Int {
    if case .memoryFile(let descriptor) = way { return readAt(descriptor, into: buffer, at: address) }
    var done = 0
    while done < buffer.count {
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<min(buffer.count, done + Self.mostBytes)])
      let result = Self.transfer(.read, process, [ReadRequest(address: address &+ UInt(done), destination: piece)][...])
      if result == -Int(EFAULT) || result == 0 { break }
      if result < 0 { throw Self.failure(process, Int32(truncatingIfNeeded: -result)) }
      done += result
    }
    return done
  }

  public func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    guard buffer.count > 0 else { return }
    guard !address.addingReportingOverflow(UInt(buffer.count)).overflow else {
      throw .shortRead(address: address, wanted: buffer.count, got: 0)
    }
    let got = try readPrefix(into: buffer, at: address)
    guard got < buffer.count else { return }
    // A process that ends loses its memory first and is a zombie a while later: say so rather than "not there".
    if !isAlive { throw .noSuchProcess(process) }
    throw .shortRead(address: address, wanted: buffer.count, got: got)
  }

  public func read(batch: [ReadRequest]) throws(InspectionError) -> [Bool] {
    var filled = [Bool](repeating: false, count: batch.count)
    var next = 0
    while next < batch.count {
      guard case .vectored = way, batch[next].destination.count <= Self.mostBytes else {
        filled[next] = try readPrefix(into: batch[next].destination, at: batch[next].address) == batch[next].destination.count
        next += 1
        continue
      }
      // As many as fit into one call.
      var last = next
      var bytes = 0
      while last < batch.count, last - next < Self.mostRanges, batch[last].destination.count <= Self.mostBytes - bytes {
        bytes += batch[last].destination.count
        last += 1
      }
      let result = Self.transfer(.read, process, batch[next..<last])
      if result < 0 && result != -Int(EFAULT) { throw Self.failure(process, Int32(truncatingIfNeeded: -result)) }
      var moved = max(0, result)
      while next < last, moved >= batch[next].destination.count {
        moved -= batch[next].destination.count
        filled[next] = true
        next += 1
      }
      if next < last { next += 1 }  // this one could not be read, or not to its end
    }
    return filled
  }

  /// Writes all of `bytes`, for the mailbox in the root. Not atomic as a whole; an aligned word is written by one store.
  /// Unlike process_vm_writev, the way by /proc/PID/mem would also write to read-only memory.
  /// Throws `permissionDenied`, `noSuchProcess` or `cannotWrite`.
  public func write(_ bytes: UnsafeRawBufferPointer, at address: UInt) throws(InspectionError) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    guard off_t(exactly: address) != nil, bytes.count <= Self.mostBytes else { throw .cannotWrite(address: address, errno: EFAULT) }
    let result: Int
    switch way {
    case .vectored:
      // The kernel only reads from the local side.
      let local = UnsafeMutableRawBufferPointer(mutating: bytes)
      result = Self.transfer(.write, process, [ReadRequest(address: address, destination: local)][...])
    case .memoryFile(let descriptor):
      let count = pwrite(descriptor, start, bytes.count, off_t(address))
      result = count < 0 ? -Int(errno == EIO ? EFAULT : errno) : count
    }
    if result == bytes.count { return }
    if result >= 0 || result == -Int(EFAULT) {
      if !isAlive { throw .noSuchProcess(process) }
      throw .cannotWrite(address: address, errno: EFAULT)
    }
    if result == -Int(EBADF) { throw .cannotWrite(address: address, errno: EACCES) }
    throw Self.failure(process, Int32(truncatingIfNeeded: -result))
  }

  /// Writes one value; see `write(_:at:)`.
  public func write<Value: BitwiseCopyable>(value: Value, at address: UInt) throws(InspectionError) {
    var failure: InspectionError?
    withUnsafeBytes(of: value) { bytes in
      do throws(InspectionError) { try write(bytes, at: address) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}
