// SPDX-License-Identifier: BSD-2-Clause
//
// # StaveMalloc
//
// The leaf of the ladder: what Stave does for each of libc's names, with the checks of arguments and the errno that C and
// POSIX ask for; the work is Heap's. Functions here have a C name of their own (`stave_libc_malloc`), and get libc's (`malloc`) from
// the linker, at no cost: CStaveMalloc/aliases.ld. CStaveMalloc holds what Swift cannot say. No target imports this one, for
// that would replace malloc in the importer.
//
// A C name is given by `@_silgen_name`: for these arguments and results Swift's calling convention is C's, and a thunk
// (`@c`, `@_cdecl`) would be compiled with nothing inlined into it.

import Accounting
import CPlatform
import Diagnostics
import Heap
import Primitives
import Zones

@_silgen_name("stave_libc_malloc")
public func staveMalloc(_ size: UInt) -> UnsafeMutableRawPointer? {
  guard let item = Heap.pop(size) else { return passMalloc(size) }
  return item
}

/// Apart, for malloc's first try to be all that is in its way. A jump, like all on the way to the heap (Callers).
@inline(never)
private func passMalloc(_ size: UInt) -> UnsafeMutableRawPointer? {
  guard let item = Heap.popPassing(size) else { return slowMalloc(size) }
  return item
}

/// Also operator delete.
@_silgen_name("stave_libc_free")
public func staveFree(_ memory: UnsafeMutableRawPointer?) { Heap.free(memory) }

@_silgen_name("stave_libc_free_sized")
public func staveFreeSized(_ memory: UnsafeMutableRawPointer?, _ size: UInt) {
  if Heap.looksAtClaims { Heap.demandSize(memory, size, alignment: 1, "free_sized()") }
  Heap.free(memory)
}

@_silgen_name("stave_libc_free_aligned_sized")
public func staveFreeAlignedSized(_ memory: UnsafeMutableRawPointer?, _ alignment: UInt, _ size: UInt) {
  if Heap.looksAtClaims { Heap.demandSize(memory, size, alignment: alignment, "free_aligned_sized()") }
  Heap.free(memory)
}

@_silgen_name("stave_libc_calloc")
public func staveCalloc(_ count: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
  if overflow { return stave_no_memory() }
  guard let item = Heap.pop(bytes) else { return passCalloc(bytes) }
  item.initializeMemory(as: UInt8.self, repeating: 0, count: Int(bytes))
  return item
}

@inline(never)
private func passCalloc(_ bytes: UInt) -> UnsafeMutableRawPointer? {
  guard let item = Heap.popPassing(bytes) else { return slowCalloc(bytes) }
  item.initializeMemory(as: UInt8.self, repeating: 0, count: Int(bytes))
  return item
}

/// realloc(p, 0) frees p and returns null, as glibc does.
@_silgen_name("stave_libc_realloc")
public func staveRealloc(_ memory: UnsafeMutableRawPointer?, _ size: UInt) -> UnsafeMutableRawPointer? {
  if let memory, size == 0 {
    Heap.free(memory)
    return nil
  }
  return Heap.looksAtRequests ? countedRealloc(memory, size) : Heap.reallocate(memory, size)
}

@_silgen_name("stave_libc_reallocarray")
public func staveReallocarray(_ memory: UnsafeMutableRawPointer?, _ count: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
  if overflow { return stave_no_memory() }
  return staveRealloc(memory, bytes)
}

/// Leaves errno as it was.
@_silgen_name("stave_libc_posix_memalign")
public func stavePosixMemalign(
  _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ alignment: UInt, _ size: UInt
) -> Int32 {
  guard alignment.isPowerOfTwo, alignment >= UInt(MemoryLayout<UInt>.size) else { return Int32(STAVE_EINVAL) }
  return Heap.looksAtRequests ? countedPosixAligned(result, alignment, size) : posixAligned(result, alignment, size, nil)
}

@inline(__always)
func posixAligned(
  _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ alignment: UInt, _ size: UInt, _ type: TypePointer?
) -> Int32 {
  let saved = stave_errno()
  guard let memory = Heap.allocate(size, alignment: alignment, type: type) else {
    stave_set_errno(saved)
    return Int32(STAVE_ENOMEM)
  }
  result.pointee = memory
  return 0
}

@_silgen_name("stave_libc_aligned_alloc")
public func staveAlignedAlloc(_ alignment: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  guard alignment.isPowerOfTwo else { return stave_invalid() }
  return aligned(alignment, size)
}

/// Rounds a crooked alignment up, as glibc does.
@_silgen_name("stave_libc_memalign")
public func staveMemalign(_ alignment: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  if alignment > UInt.max / 2 + 1 { return stave_invalid() }
  var power: UInt = 16
  while power < alignment { power *= 2 }
  return aligned(power, size)
}

@_silgen_name("stave_libc_valloc")
public func staveValloc(_ size: UInt) -> UnsafeMutableRawPointer? {
  aligned(UInt(stave_page_bytes()), size)
}

/// A whole number of pages, at least one.
@_silgen_name("stave_libc_pvalloc")
public func stavePvalloc(_ size: UInt) -> UnsafeMutableRawPointer? {
  let page = UInt(stave_page_bytes())
  guard let bytes = max(size, 1).roundedUp(to: page) else { return stave_no_memory() }
  return aligned(page, bytes)
}

@_silgen_name("stave_libc_malloc_usable_size")
public func staveUsableSize(_ memory: UnsafeMutableRawPointer?) -> UInt {
  guard let size = Heap.usableSize(memory) else {
    if let memory { Heap.reportNoBlock(memory) }
    return 0
  }
  if let memory, !Heap.demandLive(memory, "malloc_usable_size() of a free block") { return 0 }
  return size
}
