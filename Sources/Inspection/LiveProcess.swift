// SPDX-License-Identifier: BSD-2-Clause
//
// A running (or stopped, or hanging) process: opening it and what identifies it. LiveProcess+Memory.swift reads and writes
// its memory, LiveProcess+Status.swift asks the kernel for its figures.
//
// Nothing here attaches, stops, signals or locks the target. Which way of reading works is found out once, when it is
// opened, so that a missing permission is reported before anything else, and the value stays immutable: it may be used
// from several threads at once.

import CPlatform
import Glibc

public final class LiveProcess: TargetMemory {
  public let process: Int32
  /// What the kernel said about it when it was opened.
  public let entry: ProcessEntry
  let way: Way

  /// How memory is read.
  enum Way: Sendable {
    /// process_vm_readv: many ranges in one call.
    case vectored
    /// /proc/PID/mem by this descriptor, for kernels and sandboxes without the other.
    case memoryFile(Int32)
  }

  /// For tests: which way to take.
  enum Wish { case any, memoryFile }

  /// Opens the process with this PID. Costs a read of its map. Throws `noSuchProcess`, `permissionDenied` or `noMemory`.
  public convenience init(process: Int32) throws(InspectionError) { try self.init(process: process, wish: .any) }

  /// `entry`: for tests, what it was when it was opened.
  init(process: Int32, wish: Wish, entry known: ProcessEntry? = nil) throws(InspectionError) {
    self.process = process
    if let known { entry = known } else { entry = try ProcessEntry(process: process) }
    guard entry.state != "Z", entry.state != "X" else { throw .noMemory(process) }
    let mappings = try Self.mappings(of: process)
    guard let first = mappings.first(where: { $0.isReadable && !$0.path.hasPrefix("[v") }) else { throw .noMemory(process) }
    if wish == .any, try Self.probe(process, first.start) {
      way = .vectored
      return
    }
    // Read and write if that is allowed; a reader without the right to write is still a reader.
    let path = "/proc/\(process)/mem"
    var descriptor = open(path, O_RDWR | O_CLOEXEC)
    if descriptor < 0 { descriptor = open(path, O_RDONLY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw Self.failure(process, errno) }
    way = .memoryFile(descriptor)
  }

  deinit {
    if case .memoryFile(let descriptor) = way { close(descriptor) }
  }

  /// False if process_vm_readv does not exist here or is forbidden. EPERM may come from a sandbox around *this* process
  /// that forbids the call by its number, so it is not yet the last word.
  private static func probe(_ process: Int32, _ address: UInt) throws(InspectionError) -> Bool {
    var byte: UInt8 = 0
    let result = withUnsafeMutableBytes(of: &byte) { space in
      transfer(.read, process, [ReadRequest(address: address, destination: space)][...])
    }
    switch result {
    case -Int(ENOSYS), -Int(EPERM), -Int(EACCES): return false
    case -Int(ESRCH): throw .noSuchProcess(process)
    default: return true
    }
  }

  public var name: String { "process \(process) (\(entry.name))" }

  public var executablePath: String? { readLink("/proc/\(process)/exe") }

  /// False once the process has ended, also if another one has got its PID meanwhile. One small read.
  public var isAlive: Bool {
    guard let now = try? ProcessEntry(process: process) else { return false }
    return now.startTicks == entry.startTicks && now.state != "Z" && now.state != "X"
  }

  public func mappings() throws(InspectionError) -> [Mapping] { try Self.mappings(of: process) }

  private static func mappings(of process: Int32) throws(InspectionError) -> [Mapping] {
    guard let text = readSmallFile("/proc/\(process)/maps") else { throw failure(process, errno) }
    return Mapping.parse(maps: text)
  }

  /// Looked up below the target's own root directory, since it may live in a container. The program itself is opened even
  /// if its file has been deleted.
  public func file(of module: Module) -> FileBytes? {
    if module.path == executablePath { return try? FileBytes(path: "/proc/\(process)/exe") }
    return try? FileBytes(path: "/proc/\(process)/root" + module.path)
  }

  /// The error for an errno of a call that concerns the whole process.
  static func failure(_ process: Int32, _ code: Int32) -> InspectionError {
    switch code {
    case EPERM, EACCES: .permissionDenied(process: process, yamaScope: yamaScope)
    case ENOENT, ESRCH: .noSuchProcess(process)
    default: .cannotOpen(path: "/proc/\(process)", errno: code)
    }
  }

  /// Yama's setting, nil where it is not in the kernel.
  public static var yamaScope: Int? {
    guard let text = readSmallFile("/proc/sys/kernel/yama/ptrace_scope") else { return nil }
    var scanner = FieldScanner(text)
    return scanner.decimal().flatMap { Int(exactly: $0) }
  }
}
