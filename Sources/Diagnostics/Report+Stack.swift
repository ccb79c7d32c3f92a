// SPDX-License-Identifier: BSD-2-Clause
//
// Stacks in reports: a line for each frame, with the module and the place in it, for `stave symbolize` to make names of.
//
//   #0 0x55d0c0de1188 /usr/bin/program+0x1188
//   #1 0x7f2a9c1d42c9 /usr/lib/x86_64-linux-gnu/libc.so.6+0x292c9
//
// The addresses are those of the calls, one before where they return to; the places are as the file's own symbols have them.

import CPlatform
import Primitives

extension Report {
  /// The stack of a number that `Stacks.record` gave; says so where there is none.
  public mutating func stack(_ number: UInt32) {
    guard let frames = stacks.frames(of: number) else {
      text("  no stack is known\n")
      return
    }
    for index in 0..<frames.count { frame(index, frames[index] &- 1) }
  }

  /// One line. `address` lies in the call.
  mutating func frame(_ index: Int, _ address: UInt) {
    text("  #")
    number(UInt(index))
    text(" ")
    self.address(address)
    if let module = Module(at: address) {
      text(" ")
      if let name = module.name, name.pointee != 0 { cString(name) } else { programPath() }
      text("+")
      self.address(address &- module.bias)
    }
    newline()
  }

  mutating func cString(_ text: UnsafePointer<CChar>) {
    var next = text
    while next.pointee != 0 {
      byte(UInt8(bitPattern: next.pointee))
      next += 1
    }
  }

  /// As the system knows it; its name where that is refused.
  private mutating func programPath() {
    var path = InlineArray<256, UInt8>(repeating: 0)
    let link: StaticString = "/proc/self/exe"
    let count = withUnsafeMutablePointer(to: &path) {
      stave_syscall6(Int(SYS_readlink), Int(bitPattern: link.utf8Start), Int(bitPattern: UnsafeMutableRawPointer($0)), 256, 0, 0, 0)
    }
    if count > 0 && count < 256 {
      for index in 0..<count { byte(path[index]) }
    } else if let name = stave_program_name() {
      cString(name)
    }
  }
}

extension Report {
  /// The stack that this is called on, without our own frames.
  @inline(never)
  public mutating func stackHere() {
    guard let frame = Stacks.frame(at: stave_frame_pointer()) else { return }
    stack(from: frame)
  }

  /// The stack from `frame` on, outwards. `isExact`: where a signal came in; its address is that of an instruction, not of a return.
  public mutating func stack(from frame: Frame, isExact: Bool = false) {
    showsStack = true
    var pcs = InlineArray<32, UInt>(repeating: 0)
    let count = withUnsafeMutablePointer(to: &pcs) {
      let first = UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt.self)
      return callers.stack(from: frame, into: first, most: Stacks.mostFrames)
    }
    for index in 0..<count { self.frame(index, pcs[index] &- (index == 0 && isExact ? 0 : 1)) }
  }

  /// From here on reports that end or count show where they were made.
  public static func showStacks() {
    stave_set_stack_writer { $0.assumingMemoryBound(to: Report.self).pointee.stackHere() }
  }
}
