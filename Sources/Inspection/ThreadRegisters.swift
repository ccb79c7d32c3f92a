// SPDX-License-Identifier: BSD-2-Clause
//
// The registers of a thread that stands still, as words: of a process that is held, or from a core's notes.

import CPlatform
import Glibc

public struct ThreadRegisters: Equatable, Sendable {
  /// General registers, then those of floating point and vectors, as the kernel lays them out.
  public var words: [UInt]

  /// Where the stack pointer, the program counter and a system call's first argument stand, and how many general registers there are.
  #if arch(arm64)
    private static var stack: Int { 31 }
    private static var program: Int { 32 }
    private static var argument: Int { 0 }
    static var general: Int { 34 }
  #else
    private static var stack: Int { 19 }
    private static var program: Int { 16 }
    private static var argument: Int { 14 }
    static var general: Int { 27 }
  #endif

  /// Nil if there are fewer words than general registers.
  init?(words: [UInt]) {
    guard words.count >= Self.general else { return nil }
    self.words = words
  }

  public var stackPointer: UInt { words[Self.stack] }
  public var programCounter: UInt { words[Self.program] }
  /// Where libc keeps what is the thread's own; 0 where that is in no general register.
  public var ownData: UInt {
    #if arch(x86_64)
      words[21]
    #else
      0
    #endif
  }
  /// Of the system call that it is in, if it is in one, the first argument.
  public var argument: UInt { words[Self.argument] }
}

extension ProcessHold {
  /// Of the threads that stand still; to be called by the thread that holds them. Some microseconds for each.
  public func registers() -> [ThreadRegisters] { heldThreads.compactMap { Self.registers(of: $0) } }

  private static func registers(of thread: Int32) -> ThreadRegisters? {
    ThreadRegisters(words: words(of: thread, 1 /* NT_PRSTATUS */) + words(of: thread, 2 /* NT_PRFPREG */))
  }

  private static func words(of thread: Int32, _ kind: Int) -> [UInt] {
    [UInt](unsafeUninitializedCapacity: 256) { space, filled in
      var vector = iovec(iov_base: UnsafeMutableRawPointer(space.baseAddress), iov_len: space.count * 8)
      let result = withUnsafeMutablePointer(to: &vector) {
        stave_syscall6(Int(SYS_ptrace), 0x4204 /* PTRACE_GETREGSET */, Int(thread), kind, Int(bitPattern: $0), 0, 0)
      }
      filled = result < 0 ? 0 : min(space.count, vector.iov_len / 8)
    }
  }
}
