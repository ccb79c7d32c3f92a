// SPDX-License-Identifier: BSD-2-Clause
//
// The way from an entry to the heap where it matters who called: behind the fast path, and wherever memory is counted for
// callers. The entry jumps, as its last act, to one of the functions of CStaveMalloc/callers.c, which adds the caller's frame and
// jumps on to one of those below. A jump leaves no trace on the stack, so that is the caller of malloc.

import CPlatform
import Diagnostics
import Heap

@_silgen_name("stave_slow_malloc") func slowMalloc(_ size: UInt) -> UnsafeMutableRawPointer?
@_silgen_name("stave_slow_calloc") func slowCalloc(_ bytes: UInt) -> UnsafeMutableRawPointer?
@_silgen_name("stave_slow_new") func slowNew(_ size: UInt) -> UnsafeMutableRawPointer?
@_silgen_name("stave_counted_realloc") func countedRealloc(_ memory: UnsafeMutableRawPointer?, _ size: UInt) -> UnsafeMutableRawPointer?
@_silgen_name("stave_counted_aligned") private func countedAligned(_ alignment: UInt, _ size: UInt) -> UnsafeMutableRawPointer?

@_silgen_name("stave_counted_posix_aligned")
func countedPosixAligned(_ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ alignment: UInt, _ size: UInt) -> Int32

@inline(__always)
func aligned(_ alignment: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  Heap.looksAtRequests ? countedAligned(alignment, size) : Heap.allocate(size, alignment: alignment)
}

@_silgen_name("stave_malloc_for")
public func staveMalloc(_ size: UInt, _ pc: UInt, _ sp: UInt, _ bp: UInt) -> UnsafeMutableRawPointer? {
  Heap.allocate(size, for: Frame(pc: pc, sp: sp, bp: bp))
}

@_silgen_name("stave_calloc_for")
public func staveCalloc(_ bytes: UInt, _ pc: UInt, _ sp: UInt, _ bp: UInt) -> UnsafeMutableRawPointer? {
  Heap.allocateZeroed(bytes, type: Heap.type(of: Frame(pc: pc, sp: sp, bp: bp)))
}

@_silgen_name("stave_realloc_for")
public func staveRealloc(_ memory: UnsafeMutableRawPointer?, _ size: UInt, _ pc: UInt, _ sp: UInt, _ bp: UInt) -> UnsafeMutableRawPointer? {
  Heap.reallocate(memory, size, type: Heap.type(of: Frame(pc: pc, sp: sp, bp: bp)))
}

@_silgen_name("stave_aligned_for")
public func staveAligned(_ alignment: UInt, _ size: UInt, _ pc: UInt, _ sp: UInt, _ bp: UInt) -> UnsafeMutableRawPointer? {
  Heap.allocate(size, alignment: alignment, type: Heap.type(of: Frame(pc: pc, sp: sp, bp: bp)))
}

@_silgen_name("stave_posix_aligned_for")
public func stavePosixAligned(
  _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ alignment: UInt, _ size: UInt, _ pc: UInt, _ sp: UInt, _ bp: UInt
) -> Int32 {
  posixAligned(result, alignment, size, Heap.type(of: Frame(pc: pc, sp: sp, bp: bp)))
}

/// Nil also where the process's malloc is another. What C then calls throws, and must not find a frame of Swift's on the stack, which
/// the unwinder knows nothing of.
@_silgen_name("stave_new_for")
public func staveNew(_ size: UInt, _ pc: UInt, _ sp: UInt, _ bp: UInt) -> UnsafeMutableRawPointer? {
  heap.pointee.freeElsewhere == nil ? Heap.allocate(size, for: Frame(pc: pc, sp: sp, bp: bp)) : nil
}
