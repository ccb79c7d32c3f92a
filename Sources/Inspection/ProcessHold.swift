// SPDX-License-Identifier: BSD-2-Clause
//
// Holding a process for a moment: every thread of it stopped by PTRACE_INTERRUPT, without a signal that it could see, and let go
// afterwards whatever happens. If this process ends meanwhile, be it killed, the kernel lets go.
//
// A thread that is just being sent a signal stops for that, and gets the signal when it is let go. One that was stopped before (SIGSTOP)
// stays so. What sleeps in the kernel beyond reach of signals, as a parent in vfork does, does not stop: it is counted, and cannot
// do anything either until it comes back, when it stops at once. If it comes back only after letGo, it stands still until it is held
// and let go again (`after`), or this process ends.

import CPlatform
import Glibc

public final class ProcessHold {
  /// Threads that stand still, and those that did not stop in time.
  public var held: Int { threads.count }
  var heldThreads: [Int32] { threads.keys.sorted() }
  public private(set) var unheld = 0

  /// The signal that each is to get when it is let go; 0 for none.
  private var threads: [Int32: Int32] = [:]
  /// Asked, but not stopped yet, be it by a hold before.
  private var late: [Int32] = []

  private static var seize: Int { 0x4206 }
  private static var interrupt: Int { 0x4207 }
  private static var detach: Int { 17 }

  /// Returns when all threads stand still, also those begun meanwhile, or after `patience` seconds. Throws `permissionDenied`,
  /// `refused` where a debugger is at it, `noSuchProcess`; then nothing is held. To be let go by the thread that made it.
  /// `after`: this thread's last hold of that process, which has been let go.
  public init(_ process: Int32, patience: Double = 2, after last: ProcessHold? = nil) throws(InspectionError) {
    let end = clock_gettime_nsec() + UInt64(patience * 1e9)
    let askedBefore = Set(last?.late ?? [])
    var known: Set<Int32> = []
    while true {
      let listed = Self.threads(of: process), new = listed.filter { known.insert($0).inserted }
      if known.isEmpty { throw .noSuchProcess(process) }
      if new.isEmpty {
        guard let missing = missing(of: process, listed), missing > 0 else { return }
        if clock_gettime_nsec() >= end {
          unheld += missing
          return
        }
        usleep(50)
        continue
      }
      // All of them are asked first: one that does not stop in time takes no time from the others.
      var asked: [Int32] = []
      var refusal: InspectionError?
      for thread in new where refusal == nil {
        let result = Self.ptrace(Self.seize, thread)
        if result == -Int(ESRCH) || result < 0 && Self.hasEnded(process, thread) { continue }
        if result < 0, !askedBefore.contains(thread) {
          refusal = Self.failure(process, thread, Int32(truncatingIfNeeded: -result))
        } else {
          _ = Self.ptrace(Self.interrupt, thread)
          asked.append(thread)
        }
      }
      let last = max(end, clock_gettime_nsec() + 100_000_000)
      for thread in asked { wait(for: thread, until: last) }
      if let refusal {
        letGo()
        throw refusal
      }
    }
  }

  deinit { letGo() }

  public func letGo() {
    let unstopped = late
    late = []
    for thread in unstopped { wait(for: thread, until: 0) }
    for (thread, signal) in threads { _ = Self.ptrace(Self.detach, thread, Int(signal)) }
    threads = [:]
  }

  /// How many threads there may be that are neither held nor late. A list of them ends early where the kernel stands at a thread that
  /// ends just then: so it is complete only if it names as many as there are, and none of them is about to end. nil: no process any more.
  private func missing(of process: Int32, _ listed: [Int32]) -> Int? {
    guard let count = Self.threadCount(of: process) else { return nil }
    let standing = listed.filter { threads[$0] != nil || late.contains($0) || $0 == process && Self.hasEnded(process, $0) }
    return max(count, listed.count) - standing.count
  }

  private func wait(for thread: Int32, until end: UInt64) {
    var pause: UInt32 = 20
    while true {
      var status: Int32 = 0
      let result = waitpid(thread, &status, WNOHANG | Int32(bitPattern: 0x4000_0000 /* __WALL */))
      if result == thread {
        // Stopped, in the low bits; else it has ended.
        if status & 0xff == 0x7f { threads[thread] = status >> 16 == 128 /* PTRACE_EVENT_STOP */ ? 0 : status >> 8 & 0xff }
        return
      }
      if result < 0 && errno != EINTR { return }
      if clock_gettime_nsec() >= end {
        late.append(thread)
        if end > 0 { unheld += 1 }
        return
      }
      usleep(pause)
      pause = min(pause * 2, 5000)
    }
  }

  private static func ptrace(_ request: Int, _ thread: Int32, _ data: Int = 0) -> Int {
    stave_syscall6(Int(SYS_ptrace), request, Int(thread), 0, data, 0, 0)
  }

  private static func threads(of process: Int32) -> [Int32] {
    guard let folder = opendir("/proc/\(process)/task") else { return [] }
    defer { closedir(folder) }
    var found: [Int32] = []
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if let number = Int32(name) { found.append(number) }
    }
    return found
  }

  /// A first thread that has ended is there until the others have.
  private static func hasEnded(_ process: Int32, _ thread: Int32) -> Bool {
    guard let state = status(process, thread)?.first else { return true }
    return state == "Z" || state == "X"
  }

  private static func threadCount(of process: Int32) -> Int? {
    guard let fields = status(process, process), fields.count > 17 else { return nil }
    return Int(fields[17])
  }

  /// The fields of proc_pid_stat(5) from the third on, which is the state: behind the name, which may hold anything.
  private static func status(_ process: Int32, _ thread: Int32) -> [Substring]? {
    guard let text = readSmallFile("/proc/\(process)/task/\(thread)/stat") else { return nil }
    return String(decoding: text, as: UTF8.self).split(separator: ")").last?.split(separator: " ")
  }

  private static func tracer(of process: Int32, _ thread: Int32) -> Int32? {
    guard let text = readSmallFile("/proc/\(process)/task/\(thread)/status") else { return nil }
    let line = String(decoding: text, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("TracerPid:") }
    return line.flatMap { Int32($0.dropFirst(10).filter(\.isNumber)) }.flatMap { $0 > 0 ? $0 : nil }
  }

  private static func failure(_ process: Int32, _ thread: Int32, _ code: Int32) -> InspectionError {
    if let tracer = tracer(of: process, thread) { return .refused("process \(tracer) is tracing it already, as a debugger does; write a core and look at that") }
    return code == EPERM || code == EACCES ? .permissionDenied(process: process, yamaScope: LiveProcess.yamaScope) : LiveProcess.failure(process, code)
  }
}
