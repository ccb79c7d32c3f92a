// SPDX-License-Identifier: BSD-2-Clause
//
// What the kernel counts for a process: resident memory now and at its peak, and the sums of /proc/PID/smaps_rollup, which
// stand beside Stave's own sum. All figures are bytes; what an older kernel does not tell is zero.

import Glibc

/// From /proc/PID/status. Cheap: no walk of the page tables.
public struct ProcessStatus: Equatable, Sendable {
  /// Resident now (VmRSS). Batched per thread by the kernel, so it may be off by some 100 KiB.
  public var resident: UInt64 = 0
  /// The largest that `resident` has been (VmHWM).
  public var peakResident: UInt64 = 0
  /// Address space (VmSize).
  public var size: UInt64 = 0
  /// Swapped out (VmSwap).
  public var swap: UInt64 = 0
  public var threads: UInt64 = 0

  init(parsing text: [UInt8]) {
    forEachFigure(in: text) { name, value in
      switch name {
      case "VmRSS": resident = value
      case "VmHWM": peakResident = value
      case "VmSize": size = value
      case "VmSwap": swap = value
      case "Threads": threads = value
      default: break
      }
    }
  }
}

/// From /proc/PID/smaps_rollup, the exact sums over all mappings.
public struct MemoryTotals: Equatable, Sendable {
  public var resident: UInt64 = 0
  /// Resident, with each shared page divided by the number of its users.
  public var proportional: UInt64 = 0
  public var privateClean: UInt64 = 0
  public var privateDirty: UInt64 = 0
  public var sharedClean: UInt64 = 0
  public var sharedDirty: UInt64 = 0
  public var anonymous: UInt64 = 0
  /// Freed with MADV_FREE, taken when the system needs it.
  public var lazyFree: UInt64 = 0
  /// Anonymous memory in huge pages.
  public var anonymousHuge: UInt64 = 0
  public var swap: UInt64 = 0
  public var swapProportional: UInt64 = 0

  init(parsing text: [UInt8]) {
    forEachFigure(in: text) { name, value in
      switch name {
      case "Rss": resident = value
      case "Pss": proportional = value
      case "Private_Clean": privateClean = value
      case "Private_Dirty": privateDirty = value
      case "Shared_Clean": sharedClean = value
      case "Shared_Dirty": sharedDirty = value
      case "Anonymous": anonymous = value
      case "LazyFree": lazyFree = value
      case "AnonHugePages": anonymousHuge = value
      case "Swap": swap = value
      case "SwapPss": swapProportional = value
      default: break
      }
    }
  }
}

extension LiveProcess {
  /// Throws `noSuchProcess` if it has ended.
  public func status() throws(InspectionError) -> ProcessStatus {
    guard let text = readSmallFile("/proc/\(process)/status") else { throw Self.failure(process, errno) }
    return ProcessStatus(parsing: text)
  }

  /// The number that the process has for itself (getpid), which in a PID namespace is another. Nil where the kernel does not say.
  var numberInside: UInt32? {
    guard let text = readSmallFile("/proc/\(process)/status") else { return nil }
    var scanner = FieldScanner(text)
    while !scanner.isAtEnd {
      if scanner.field().elementsEqual("NStgid:".utf8) {
        var last: UInt32?
        while let number = scanner.decimal() { last = UInt32(exactly: number) }
        return last
      }
      scanner.skipLine()
    }
    return nil
  }

  /// The kernel walks the page tables for this, milliseconds for a large process, which may have to wait meanwhile when it
  /// maps memory: not for every refresh of a table.
  /// Throws `permissionDenied`, or `cannotOpen` where the kernel is older than 4.14.
  public func memoryTotals() throws(InspectionError) -> MemoryTotals {
    guard let text = readSmallFile("/proc/\(process)/smaps_rollup") else {
      let code = errno
      if code == ENOENT && isAlive { throw .cannotOpen(path: "/proc/\(process)/smaps_rollup", errno: code) }
      throw Self.failure(process, code)
    }
    return MemoryTotals(parsing: text)
  }
}

/// Lines of the form "Name:  123 kB", or without the unit.
private func forEachFigure(in text: [UInt8], _ body: (String, UInt64) -> Void) {
  var scanner = FieldScanner(text)
  while !scanner.isAtEnd {
    let name = scanner.field()
    if name.last == UInt8(ascii: ":"), let number = scanner.decimal() {
      let inKilobytes = scanner.field().elementsEqual([107, 66])
      let (bytes, overflow) = number.multipliedReportingOverflow(by: inKilobytes ? 1024 : 1)
      if !overflow { body(String(decoding: name.dropLast(), as: UTF8.self), bytes) }
    }
    scanner.skipLine()
  }
}
