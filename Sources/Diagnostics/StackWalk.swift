// SPDX-License-Identifier: BSD-2-Clause
//
// A walk through all frames of a thread's stack that reads only what can be read, whatever lies there: a stack that has been
// written over is walked like any other, and the walk ends where it makes no sense.
//
// Steps in foreign code are by call frame information. Our own code in libstave.so has none, but frame pointers wherever it calls
// (Package.swift), and those are taken there alone: elsewhere rbp may be anything.
//
// Cost: some 14 ns for a frame that is known, 136 ns for each page of stack behind the first: a system call. Within 1 MiB of the end of
// the process's first stack nothing is asked.

import CPlatform

struct StackWalk {
  private(set) var frame: Frame
  private let limit: UInt
  /// Known to be readable.
  private var readable: AddressRange

  private static var page: UInt { 4096 }

  /// How far up a stack is looked at.
  static var mostBytes: UInt { 8 << 20 }

  /// `frame.sp` lies on a stack, as the kernel or a running function has it. `isRead`: the word below it has just been read.
  init(from frame: Frame, limit: UInt, isRead: Bool = false) {
    self.frame = frame
    self.limit = limit
    readable = AddressRange(start: frame.sp, end: isRead ? Self.endOfReadable(frame.sp) : frame.sp)
  }

  /// Of what lies above a word of a stack that has just been read: its page; all of it where that is the process's first stack, which
  /// is one mapping, and which the kernel maps nothing close below.
  private static func endOfReadable(_ sp: UInt) -> UInt {
    let first = stave_first_stack_end()
    return first > sp && first &- sp <= firstStackBytes ? first : Swift.max(sp, (sp &- 8 | (page &- 1)) &+ 1)
  }

  /// As close to the end of the first stack as there can be no other mapping: the kernel's gap below stacks (`stack_guard_gap`, 256 pages).
  private static var firstStackBytes: UInt { 1 << 20 }

  /// The word at `address`; nil unless it is one, between the frame and the limit, and can be read.
  private mutating func load(_ address: UInt) -> UInt? {
    guard address & 7 == 0, address >= frame.sp, limit >= 8, address <= limit &- 8 else { return nil }
    if !readable.holds(address, 8) {
      guard stave_can_read(address) else { return nil }
      let start = address & ~(Self.page &- 1)
      readable = AddressRange(start: start == readable.end ? readable.start : start, end: start &+ Self.page)
    }
    return UnsafePointer<UInt>(bitPattern: address)?.pointee
  }

  /// To the caller; false where the walk ends, and then nothing has changed.
  mutating func step(by rule: FrameRule) -> Bool {
    guard let cfa = rule.address(of: frame) else { return false }
    return step(returnAt: cfa &- 8, savedAt: rule.saved == 0 ? nil : cfa &- rule.saved, to: cfa)
  }

  /// The same where rbp points to the caller's, and the return address lies above that.
  mutating func stepByFramePointer() -> Bool {
    guard frame.bp <= UInt.max &- 16 else { return false }
    return step(returnAt: frame.bp &+ 8, savedAt: frame.bp, to: frame.bp &+ 16)
  }

  private mutating func step(returnAt place: UInt, savedAt saved: UInt?, to sp: UInt) -> Bool {
    guard sp > frame.sp, let pc = load(place), pc != 0 else { return false }
    var bp = frame.bp
    if let saved {
      guard let value = load(saved) else { return false }
      bp = value
    }
    frame = Frame(pc: pc, sp: sp, bp: bp)
    return true
  }
}

extension UnsafeMutablePointer where Pointee == stave_callers {
  /// The addresses that the calls return to, from the caller of our code on, into `pcs`, `most` at most: how many. `frame` is one of
  /// our own code's; where it is not, it is the first. Where the way out of our code is not found, as in a program that has no call frame
  /// information at all, they are those of what was found.
  func stack(from frame: Frame, into pcs: UnsafeMutablePointer<UInt>, most: Int, isRead: Bool = false) -> Int {
    var walk = StackWalk(from: frame, limit: stackLimit(above: frame.sp, bytes: StackWalk.mostBytes), isRead: isRead)
    var count = 0
    var left = 64
    while left > 0 && isOwn(walk.frame.pc) {
      if count < most {
        pcs[count] = walk.frame.pc
        count += 1
      }
      let rule = place(of: walk.frame.pc).rule
      guard rule.isNone ? walk.stepByFramePointer() : walk.step(by: rule) else { return count }
      left -= 1
    }
    count = 0
    while count < most {
      pcs[count] = walk.frame.pc
      count += 1
      guard walk.step(by: place(of: walk.frame.pc).rule) else { break }
    }
    return count
  }

  /// In a program that Stave is part of, what has no call frame information is.
  private func isOwn(_ pc: UInt) -> Bool { stave_is_library() ? stave_is_own_code(pc &- 1) : place(of: pc).rule.isNone }
}
