// SPDX-License-Identifier: BSD-2-Clause
//
// Allocation: the fast path, and what lies behind it.

import Diagnostics
import Accounting
import CPlatform
import Pages
import Primitives
import Zones

public enum Heap {
  /// Memory without a type: `size` bytes, aligned to 16, or nil. A size of 0 gives a distinct block. The fast path is one
  /// table look-up and one restartable section; it has no branch but the two to `allocateSlow`.
  @inline(__always)
  public static func allocate(_ size: UInt) -> UnsafeMutableRawPointer? {
    if _fastPath(UInt64(size) < stave_hot().pointee.typed_limit), let item = popUntyped(size) { return item }
    return allocateSlow(size)
  }

  /// malloc's first try: what this CPU's cache has for the size; nil if it has nothing, or if more must be asked first.
  @inline(__always)
  public static func pop(_ size: UInt) -> UnsafeMutableRawPointer? {
    guard _fastPath(UInt64(size) < stave_hot().pointee.small_limit) else { return nil }
    return popUntyped(size)
  }

  /// While guards are on: the same for a request that the lot does not fall on. Two loads and a store more.
  @inline(__always)
  public static func popPassing(_ size: UInt) -> UnsafeMutableRawPointer? {
    guard UInt64(size) < stave_hot().pointee.passing_limit, memGuard.passesBy() else { return nil }
    if let item = popUntyped(size) { return item }
    memGuard.takeBack()
    return nil
  }

  @inline(__always)
  private static func popUntyped(_ size: UInt) -> UnsafeMutableRawPointer? {
    let cell = UInt64(stave_size_table()[Int(truncatingIfNeeded: (size &+ 15) >> 4)])
    return stave_pop(cell &* 32)
  }

  @inline(never)
  static func allocateSlow(_ size: UInt) -> UnsafeMutableRawPointer? { allocateSlow(size, type: nil) }

  /// Behind malloc's first try: for whom, is a matter of the thread's scope, and of its caller where memory is counted for callers.
  public static func allocate(_ size: UInt, for caller: Frame) -> UnsafeMutableRawPointer? {
    guard looksAtRequests else { return allocateSlow(size, type: nil) }
    guard let type = type(of: caller) else { return allocate(size) }
    return allocate(size, type: type)
  }

  /// Of a type's zones, or of malloc's.
  @inline(never)
  static func allocateSlow(_ size: UInt, type: TypePointer?) -> UnsafeMutableRawPointer? {
    passGuards(size, type) ?? obtain(Request(size, type: type))
  }

  /// calloc: zeroed. Blocks fresh from the system are not cleared again.
  public static func allocateZeroed(_ size: UInt, type: TypePointer? = nil) -> UnsafeMutableRawPointer? {
    guard let item = (type == nil ? pop(size) : pop(size, type: type!)) ?? passGuards(size, type) else {
      return obtain(Request(size, type: type, isZeroed: true))
    }
    clear(item, bytes: size)
    return item
  }

  /// Memory at a multiple of `alignment`, a power of two.
  public static func allocate(_ size: UInt, alignment: UInt, type: TypePointer? = nil) -> UnsafeMutableRawPointer? {
    let request = Request(size, alignment: alignment, type: type)
    guard let index = request.index else { return obtain(request) }
    let whole = UInt(SizeClass.size(index))
    return (type == nil ? pop(whole) : pop(whole, type: type!)) ?? passGuards(size, whole: whole, type) ?? obtain(request)
  }
}
