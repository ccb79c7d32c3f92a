// SPDX-License-Identifier: BSD-2-Clause
//
// # StaveMalloc
//
// The leaf of the ladder: what libstave.so does for each name of libc's. The names themselves are in CStaveMalloc, one line
// each; `malloc` and `free` are the Swift functions below under another name, given at link time, so that a call costs
// nothing more. No target imports this one, for that would replace malloc in the importer.

import CPlatform
import Heap
import Pages
import Primitives
import Zones

// The hot names are Swift functions themselves, under a C name: for these arguments and results Swift's calling convention
// is C's, and a thunk (`@c`, `@_cdecl`) would be compiled with nothing inlined into it.

@_silgen_name("stave_malloc")
public func staveMalloc(_ size: UInt) -> UnsafeMutableRawPointer? { Heap.allocate(size) }

@_silgen_name("stave_free")
public func staveFree(_ memory: UnsafeMutableRawPointer?) { Heap.free(memory) }

/// operator new. When memory runs out, the C++ library's own runs the new_handler and throws.
@_silgen_name("stave_new")
public func staveNew(_ size: UInt) -> UnsafeMutableRawPointer? {
  guard let memory = Heap.allocate(size) else { return stave_new_failed(Int(bitPattern: size)) }
  return memory
}

@_cdecl("stave_calloc")
public func staveCalloc(_ count: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
  if overflow { return stave_no_memory() }
  return Heap.allocateZeroed(bytes)
}

/// realloc(p, 0) frees p and returns null, as glibc does.
@_cdecl("stave_realloc")
public func staveRealloc(_ memory: UnsafeMutableRawPointer?, _ size: UInt) -> UnsafeMutableRawPointer? {
  if let memory, size == 0 {
    Heap.free(memory)
    return nil
  }
  return Heap.reallocate(memory, size)
}

/// `alignment` is a power of two: the callers have checked.
@_cdecl("stave_aligned")
public func staveAligned(_ alignment: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  Heap.allocate(size, alignment: alignment)
}

@_cdecl("stave_usable_size")
public func staveUsableSize(_ memory: UnsafeMutableRawPointer?) -> UInt {
  guard let size = Heap.usableSize(memory) else {
    reportBadFree("malloc_usable_size() of an address that is no block", UInt(bitPattern: memory), keg: nil)
  }
  return size
}

@_cdecl("stave_trim")
public func staveTrim() -> Int32 { Heap.trim() > 0 ? 1 : 0 }

@_cdecl("stave_configure")
public func staveConfigure(_ environment: UnsafePointer<UnsafePointer<CChar>?>?) { heap.configure(environment: environment) }

@_cdecl("stave_at_exit")
public func staveAtExit() { if heap.isReady && heap.pointee.options[.stats] == 1 { printZones(to: heap.pointee.statisticsFile) } }

@_cdecl("stave_print_zones")
public func stavePrintZones(_ file: Int32) { if heap.isReady || heap.start() { printZones(to: file) } }

@_cdecl("stave_prepare_fork")
public func stavePrepareFork() { Heap.prepareFork() }

@_cdecl("stave_parent_after_fork")
public func staveParentAfterFork() { Heap.parentAfterFork() }

@_cdecl("stave_child_after_fork")
public func staveChildAfterFork() { Heap.childAfterFork() }

/// Bytes in use, cached, purgeable, mapped; blocks in use: for mallinfo2 and malloc_info.
@_cdecl("stave_totals")
public func staveTotals(_ totals: UnsafeMutablePointer<UInt>) {
  guard heap.isReady || heap.start() else { return }
  let sums = HeapTotals()
  totals[0] = sums.usedBytes
  totals[1] = sums.freeBytes
  totals[2] = arena.pointee.largeBytes
  totals[3] = arena.pointee.largeCount
  totals[4] = arena.pointee.cachedBytes + arena.pointee.recentBytes
  totals[5] = arena.pointee.frontier - arena.pointee.windowStart + UInt(metadataPages.pointee.mappedBytes)
}
