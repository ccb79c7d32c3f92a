// SPDX-License-Identifier: BSD-2-Clause
//
// Memory with a type (Accounting): malloc(9)'s calls. A free needs nothing of its own: `Heap.free` charges back to the type that
// allocated, whichever it is told.

import Accounting
import CPlatform
import Pages
import Primitives
import Zones

extension Heap {
  /// `size` bytes for `type`, or nil. As fast as `allocate(_:)` but for some instructions that find the class.
  @inline(__always)
  public static func allocate(_ size: UInt, type: TypePointer) -> UnsafeMutableRawPointer? {
    if _fastPath(UInt64(size) < stave_hot().pointee.typed_limit) {
      let cell = UInt64(type.pointee.cells[SizeClass.index(for: Int(size))])
      if let item = stave_pop(cell &* 32) { return item }
    }
    return allocateSlow(size, type: type)
  }

  /// As malloc(9): with `wait` it sleeps until there is memory, unless no giving back could ever make so much; with `zero` the
  /// whole of the class is zero, not only what was asked for (4.5).
  public static func allocate(_ size: UInt, type: TypePointer, _ flags: WaitFlags) -> UnsafeMutableRawPointer? {
    let flags = flags.checked
    guard flags.contains(.zero) else { return insist(flags, size, type) { allocate(size, type: type) } }
    if size > UInt(SizeClass.largest) { return insist(flags, size, type) { allocateLargeZeroed(size, type: type) } }
    guard let memory = insist(flags, size, type, { allocate(size, type: type) }) else { return nil }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: SizeClass.size(SizeClass.index(for: Int(size))))
    return memory
  }

  public static func reallocate(
    _ memory: UnsafeMutableRawPointer?, _ size: UInt, type: TypePointer, _ flags: WaitFlags
  ) -> UnsafeMutableRawPointer? {
    insist(flags.checked, size, type) { reallocate(memory, size, type: type) }
  }

  /// Again and again, if the request may wait and what it wants can be had some time.
  @inline(__always)
  private static func insist(
    _ flags: WaitFlags, _ size: UInt, _ type: TypePointer, _ request: () -> UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    if let memory = request() { return memory }
    guard flags.maySleep else { return nil }
    if isWorthReclaiming(size), size <= UInt(SizeClass.largest) { type.pointee.zones[SizeClass.index(for: Int(size))]?.noteSleep() }
    var pause: Int64 = 1_000_000
    while isWorthReclaiming(size) {
      var never: UInt32 = 0
      _ = stave_futex_wait(&never, 0, pause)
      if let memory = request() { return memory }
      pause = min(pause * 2, 100_000_000)
    }
    return nil
  }
}
