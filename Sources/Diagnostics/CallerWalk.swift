// SPDX-License-Identifier: BSD-2-Clause
//
// Steps outwards: to the first frame that lies in no forwarder, or through all frames.

import CPlatform

/// How far up a thread's stack a walk may read, starting at `sp`: `bytes`, or less where the stack begins. Three loads.
@inline(__always)
public func stackLimit(above sp: UInt, bytes: UInt = 65536) -> UInt {
  var limit = sp &+ bytes < sp ? UInt.max : sp &+ bytes
  let first = stave_first_stack_end()
  if first > sp && first < limit { limit = first }
  let thread = stave_thread_pointer()
  if thread > sp && thread < limit { limit = thread }
  return limit
}

/// Who asked.
public struct Caller: Equatable {
  /// The call returns to here. The call itself, and thus its module and line, lie before it: look for `pc - 1`.
  public let pc: UInt
  /// Frames that were walked over.
  public let depth: Int
  /// Whether the walk ended before it left the forwarders. Then `pc` is that of the frame it began with.
  public let isForwarder: Bool

  /// Nil for code that no file was loaded for.
  public var module: Module? { Module(at: pc &- 1) }
}

extension UnsafeMutablePointer where Pointee == stave_callers {
  public static var mostFrames: Int { 64 }

  /// The first frame from `frame` on, outwards, that is in no forwarder; at most 64 steps. Reads the stack from `frame.sp` up to
  /// `limit`, see `stackLimit`.
  @inline(__always)
  public func caller(of frame: Frame, limit: UInt) -> Caller {
    let place = place(of: frame.pc)
    if !place.forwards { return Caller(pc: frame.pc, depth: 0, isForwarder: false) }
    return walk(from: frame, place, limit)
  }

  @inline(never)
  func walk(from frame: Frame, _ place: CodePlace, _ limit: UInt) -> Caller {
    var place = place
    var next = frame
    var depth = 0
    while depth < Self.mostFrames, let outer = place.rule.caller(of: next, limit: limit) {
      depth += 1
      next = outer
      place = self.place(of: next.pc)
      if !place.forwards { return Caller(pc: next.pc, depth: depth, isForwarder: false) }
    }
    return Caller(pc: frame.pc, depth: depth, isForwarder: true)
  }

  /// The addresses that the calls return to, from `frame` on outwards, into `pcs`: how many, at least one if there is room.
  public func frames(from frame: Frame, limit: UInt, into pcs: UnsafeMutablePointer<UInt>, count: Int) -> Int {
    var next = frame
    var depth = 0
    while depth < count {
      pcs[depth] = next.pc
      depth += 1
      guard let outer = place(of: next.pc).rule.caller(of: next, limit: limit) else { break }
      next = outer
    }
    return depth
  }
}
