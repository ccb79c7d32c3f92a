// SPDX-License-Identifier: BSD-2-Clause
//
// Stacks in reports: a line for each frame, with the module and the place in it, for `stave symbolize` to make names of. A module's
// build id stands where the stack first has it.
//
//   #0 0x55d0c0de1188 /usr/bin/program+0x1188 (build id 0b5a…)
//   #1 0x7f2a9c1d42c9 /usr/lib/x86_64-linux-gnu/libc.so.6+0x292c9 (build id 9f12…)
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
    stack(frames.baseAddress!, count: frames.count)
  }

  private mutating func stack(_ pcs: UnsafePointer<UInt>, count: Int) {
    for index in 0..<count {
      let address = pcs[index] &- 1
      text("  #")
      number(UInt(index))
      text(" ")
      self.address(address)
      if let module = Module(at: address) { place(address, in: module, isNew: !has(pcs, index, module)) }
      newline()
    }
  }

  /// Whether one of the first frames lies in the module.
  private func has(_ pcs: UnsafePointer<UInt>, _ count: Int, _ module: Module) -> Bool {
    for index in 0..<count where Module(at: pcs[index] &- 1)?.linkMap == module.linkMap { return true }
    return false
  }

  private mutating func place(_ address: UInt, in module: Module, isNew: Bool) {
    text(" ")
    if let name = module.name, name.pointee != 0 { cString(name) } else { programPath() }
    text("+")
    self.address(address &- module.bias)
    guard isNew else { return }
    var bytes = 0
    module.forEachByteOfBuildID { byte in
      if bytes == 0 { text(" (build id ") }
      bytes += 1
      hexadecimal(byte)
    }
    if bytes > 0 { text(")") }
  }

  private mutating func hexadecimal(_ value: UInt8) {
    byte(value >> 4 < 10 ? 48 + (value >> 4) : 87 + (value >> 4))
    byte(value & 15 < 10 ? 48 + (value & 15) : 87 + (value & 15))
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
    // What is known of a frame is known of the code before its address, which a call lies at.
    let frame = isExact ? Frame(pc: frame.pc &+ 1, sp: frame.sp, bp: frame.bp) : frame
    var pcs = InlineArray<32, UInt>(repeating: 0)
    withUnsafeMutablePointer(to: &pcs) {
      let first = UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt.self)
      stack(first, count: callers.stack(from: frame, into: first, most: Stacks.mostFrames))
    }
  }

  /// From here on reports that end or count show where they were made.
  public static func showStacks() {
    stave_set_stack_writer { $0.assumingMemoryBound(to: Report.self).pointee.stackHere() }
  }
}
