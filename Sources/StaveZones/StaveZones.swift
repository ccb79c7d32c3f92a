// SPDX-License-Identifier: BSD-2-Clause
//
// # StaveZones
//
// A leaf of the ladder: the zones, pools and packet buffers of the core as C and C++ programs have them, libstavezones.so and
// libstavezones.a. Each function here is one of the core's with a C name and C's types; what it does is said in stave_zone.h,
// stave_pool.h and stave_mbuf.h. The library's core is its own, beside that of libstave.so where a process has both: it replaces no
// malloc, and starts when the first zone, pool, context or mbuf is made.
//
// Names are given by `@_silgen_name`, since for up to six words Swift's calling convention is C's and the core is inlined; by `@c` where
// there are more, which only what makes zones has.

import CPlatform
import Heap
import Own
import Zones

/// Before anything that makes something. A load and a branch, once the core serves.
@inline(__always)
func isReady() -> Bool { heap.isReady || Heap.startOwn() }

/// 0, or -1 with EINVAL.
@inline(__always)
func orInvalid(_ isDone: Bool) -> Int32 {
  if isDone { return 0 }
  _ = stave_invalid()
  return -1
}

/// 0, or -1 with ENOMEM.
@inline(__always)
func orNoMemory(_ isDone: Bool) -> Int32 {
  if isDone { return 0 }
  _ = stave_no_memory()
  return -1
}

/// The library's version, in three bytes: 0x000100 is 0.1.0.
@_silgen_name("stave_zone_version")
public func zoneVersion() -> UInt32 { 0x000100 }
