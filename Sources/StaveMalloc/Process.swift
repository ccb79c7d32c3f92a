// SPDX-License-Identifier: BSD-2-Clause
//
// The names that concern the heap as a whole, and what CStaveMalloc/start.c calls in the course of a process's life.

import CPlatform
import Heap
import Pages
import Zones

/// 1 if memory went back to the system. `pad`, bytes to be kept, means nothing here.
@_silgen_name("stave_libc_malloc_trim")
public func staveTrim(_ pad: UInt) -> Int32 { Heap.trim() > 0 ? 1 : 0 }

/// glibc's parameters have no counterparts; programs that set them go on.
@_silgen_name("stave_libc_mallopt")
public func staveMallopt(_ parameter: Int32, _ value: Int32) -> Int32 { 1 }

@_silgen_name("stave_libc_malloc_stats")
public func staveStats() { if heap.isReady || heap.start() { printZones(to: 2) } }

@_silgen_name("stave_configure")
public func staveConfigure(_ environment: UnsafePointer<UnsafePointer<CChar>?>?) { heap.configure(environment: environment) }

/// Whether `memory`, which malloc gave, came from here, be it through another malloc that puts something before it.
@_silgen_name("stave_owns")
public func staveOwns(_ memory: UnsafeMutableRawPointer?) -> Bool {
  guard let memory else { return false }
  if case .none = ownerMap.pointee.owner(of: UInt(bitPattern: memory)) { return false }
  return true
}

@_silgen_name("stave_step_aside")
public func staveStepAside(_ free: @convention(c) (UnsafeMutableRawPointer?) -> Void) { heap.stepAside(freeingAt: free) }

@_silgen_name("stave_at_exit")
public func staveAtExit() { heap.finish() }

@_silgen_name("stave_prepare_fork")
public func stavePrepareFork() { Heap.prepareFork() }

@_silgen_name("stave_parent_after_fork")
public func staveParentAfterFork() { Heap.parentAfterFork() }

@_silgen_name("stave_child_after_fork")
public func staveChildAfterFork() { Heap.childAfterFork() }

/// Bytes in use, cached, purgeable, mapped; blocks in use: for mallinfo2 and malloc_info.
@_silgen_name("stave_totals")
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
