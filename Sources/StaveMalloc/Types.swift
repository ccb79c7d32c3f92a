// SPDX-License-Identifier: BSD-2-Clause
//
// stave.h's functions: memory with a malloc type. A type that was not registered, as in a constructor that runs before its own, is so
// at its first use. One that cannot be, for want of memory or of numbers, is none: what is asked for it is malloc's.

import Accounting
import CPlatform
import Heap
import Primitives
import Zones

@inline(__always)
func record(of author: UnsafeMutablePointer<stave_type>) -> TypePointer? {
  if let known = author.pointee.internals { return known.assumingMemoryBound(to: TypeRecord.self) }
  return register(author)
}

@inline(never)
private func register(_ author: UnsafeMutablePointer<stave_type>) -> TypePointer? {
  guard heap.isReady || heap.start() else { return nil }
  return types.register(author)
}

@_silgen_name("stave_type_register")
public func staveTypeRegister(_ author: UnsafeMutablePointer<stave_type>) { _ = register(author) }

@_silgen_name("stave_type_unregister")
public func staveTypeUnregister(_ author: UnsafeMutablePointer<stave_type>) { Heap.unregister(author) }

/// 0, or -1 with ENOMEM: no memory for the type's record, or no membarrier(2) for a type that is in use already.
@_silgen_name("stave_type_set_limit")
public func staveTypeSetLimit(_ author: UnsafeMutablePointer<stave_type>, _ bytes: UInt) -> Int32 {
  guard let type = record(of: author), types.setLimit(type, Int64(clamping: bytes)) else {
    _ = stave_no_memory()
    return -1
  }
  return 0
}

@_silgen_name("stave_type_enter")
public func staveTypeEnter(_ author: UnsafeMutablePointer<stave_type>?) -> UnsafeMutablePointer<stave_type>? {
  if let author { _ = record(of: author) }
  return Heap.enterScope(author)
}

@_silgen_name("stave_type_leave")
public func staveTypeLeave(_ before: UnsafeMutablePointer<stave_type>?) { Heap.leaveScope(to: before) }

@_silgen_name("stave_malloc")
public func staveTypedMalloc(_ size: UInt, _ author: UnsafeMutablePointer<stave_type>, _ flags: Int32) -> UnsafeMutableRawPointer? {
  Heap.allocate(size, type: record(of: author), WaitFlags(rawValue: flags))
}

@_silgen_name("stave_mallocarray")
public func staveMallocarray(
  _ count: UInt, _ size: UInt, _ author: UnsafeMutablePointer<stave_type>, _ flags: Int32
) -> UnsafeMutableRawPointer? {
  let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
  return overflow ? stave_no_memory() : staveTypedMalloc(bytes, author, flags)
}

@_silgen_name("stave_realloc")
public func staveTypedRealloc(
  _ block: UnsafeMutableRawPointer?, _ size: UInt, _ author: UnsafeMutablePointer<stave_type>, _ flags: Int32
) -> UnsafeMutableRawPointer? {
  if Heap.looksAtClaims { Heap.demandType(block, author, "stave_realloc()") }
  return Heap.reallocate(block, size, type: record(of: author), WaitFlags(rawValue: flags))
}

@_silgen_name("stave_reallocf")
public func staveReallocf(
  _ block: UnsafeMutableRawPointer?, _ size: UInt, _ author: UnsafeMutablePointer<stave_type>, _ flags: Int32
) -> UnsafeMutableRawPointer? {
  if let moved = staveTypedRealloc(block, size, author, flags) { return moved }
  Heap.free(block)
  return nil
}

@_silgen_name("stave_free")
public func staveTypedFree(_ block: UnsafeMutableRawPointer?, _ author: UnsafeMutablePointer<stave_type>?) {
  if Heap.looksAtClaims { Heap.demandType(block, author, "stave_free()") }
  Heap.free(block)
}
