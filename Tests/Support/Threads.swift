// SPDX-License-Identifier: BSD-2-Clause
//
// Real threads, on the CPUs that a test chooses: the concurrency library's pool may not be blocked.

import CPlatform
import Foundation
import Glibc
import Synchronization

/// Carries what the compiler cannot know to be safe to share; the test says why it is.
struct Shared<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// Runs `body` in `count` threads at once and returns when all have ended.
func inThreads(_ count: Int, _ body: @escaping (_ thread: Int) -> Void) {
  let work = Work(body)
  let done = DispatchGroup()
  for index in 0..<count {
    done.enter()
    let thread = Thread {
      work.body!(index)
      done.leave()
    }
    thread.stackSize = 1 << 20
    thread.start()
  }
  done.wait()
  // A thread has its block a moment longer; what the body has captured goes now.
  work.body = nil
}

private final class Work: @unchecked Sendable {
  var body: ((Int) -> Void)?
  init(_ body: @escaping (Int) -> Void) { self.body = body }
}

/// What one thread says to another.
final class Flag: Sendable {
  private let word: Atomic<Bool>

  init(_ isSet: Bool = false) { word = Atomic(isSet) }
  var isSet: Bool { word.load(ordering: .acquiring) }
  func set(_ isSet: Bool = true) { word.store(isSet, ordering: .releasing) }
}

/// CPU time of this thread, in nanoseconds.
func spent(_ body: () -> Void) -> Int {
  func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
  let start = now()
  body()
  return now() - start
}

/// Binds the calling thread to one CPU number; false if that is not to be had.
@discardableResult
func bind(toCPU cpu: Int) -> Bool {
  var mask = [UInt64](repeating: 0, count: 128)
  mask[cpu >> 6] = 1 << UInt64(cpu & 63)
  return stave_syscall6(Int(SYS_sched_setaffinity), 0, 1024, mask.withUnsafeBytes { Int(bitPattern: $0.baseAddress!) }, 0, 0, 0) == 0
}

/// The CPUs that this process may use.
let usableCPUs: [Int] = {
  var mask = [UInt64](repeating: 0, count: 128)
  let bytes = mask.withUnsafeMutableBytes {
    stave_syscall6(Int(SYS_sched_getaffinity), 0, 1024, Int(bitPattern: $0.baseAddress!), 0, 0, 0)
  }
  return (0..<max(0, Int(bytes)) * 8).filter { mask[$0 >> 6] & (1 << UInt64($0 & 63)) != 0 }
}()

func bindToAll() {
  var mask = [UInt64](repeating: 0, count: 128)
  for cpu in usableCPUs { mask[cpu >> 6] |= 1 << UInt64(cpu & 63) }
  _ = stave_syscall6(Int(SYS_sched_setaffinity), 0, 1024, mask.withUnsafeBytes { Int(bitPattern: $0.baseAddress!) }, 0, 0, 0)
}

/// fork, which Swift does not let be called by name.
let libcFork = unsafeBitCast(dlsym(nil, "fork"), to: (@convention(c) () -> pid_t).self)
