// SPDX-License-Identifier: BSD-2-Clause
//
// Memory with a type (Accounting): malloc(9)'s calls. A free needs nothing of its own: `Heap.free` charges back to the type that
// allocated, whichever it is told (Heap+Claims).

import Accounting
import CPlatform
import Primitives
import Zones

extension Heap {
  /// `size` bytes for `type`, or nil. As fast as `allocate(_:)` but for some instructions that find the class. A type with an account
  /// has no cells to be found here.
  @inline(__always)
  public static func allocate(_ size: UInt, type: TypePointer) -> UnsafeMutableRawPointer? {
    pop(size, type: type) ?? allocateSlow(size, type: type)
  }

  @inline(__always)
  static func pop(_ size: UInt, type: TypePointer) -> UnsafeMutableRawPointer? {
    guard _fastPath(UInt64(size) < stave_hot().pointee.typed_limit) else { return nil }
    let cell = UInt64(type.pointee.cells[SizeClass.index(for: Int(size))])
    return stave_pop(cell &* 32)
  }

  /// As malloc(9): with `wait` it sleeps until there is memory, and room within the type's limit, unless no giving back could ever
  /// make so much; with `canFail` as well not for ever; with `zero` all that may be used is zero, not only what was asked for.
  /// Without a type, where one could not be registered, it is malloc's memory.
  public static func allocate(_ size: UInt, type: TypePointer?, _ flags: WaitFlags) -> UnsafeMutableRawPointer? {
    let flags = flags.checked
    guard let type, let item = pop(size, type: type) ?? passGuards(size, type) else {
      var request = Request(size, type: type, isZeroed: flags.contains(.zero))
      request.zeroesAll = true
      return obtain(request, flags)
    }
    if flags.contains(.zero) { clear(item, bytes: UInt(SizeClass.size(SizeClass.index(for: Int(size))))) }
    return item
  }
}
