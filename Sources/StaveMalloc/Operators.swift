// SPDX-License-Identifier: BSD-2-Clause
//
// What C++'s operators need beyond malloc and free; the operators themselves are in CStaveMalloc/operators.c.

import CPlatform
import Heap

/// operator new. When memory runs out, or the process's malloc is another, it is the C++ library's own, which calls malloc, runs the
/// new_handler and throws.
@_silgen_name("stave_new")
public func staveNew(_ size: UInt) -> UnsafeMutableRawPointer? {
  guard let item = Heap.pop(size) else { return passNew(size) }
  return item
}

@inline(never)
private func passNew(_ size: UInt) -> UnsafeMutableRawPointer? {
  guard let item = Heap.popPassing(size) else { return slowNew(size) }
  return item
}

/// Nil as for `staveNew`. `alignment` is a power of two: the compiler makes it.
@_silgen_name("stave_new_aligned")
public func staveNewAligned(_ alignment: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  heap.pointee.freeElsewhere == nil ? aligned(alignment, size) : nil
}

/// Before a delete that says how large the block is.
@_silgen_name("stave_demand_size")
public func staveDemandSize(_ memory: UnsafeMutableRawPointer?, _ size: UInt, _ alignment: UInt) {
  Heap.demandSize(memory, size, alignment: alignment, "operator delete()")
}

/// Nil as for `staveNew`, without the C++ library's help.
@_silgen_name("stave_new_quietly")
public func staveNewQuietly(_ size: UInt) -> UnsafeMutableRawPointer? {
  guard let item = Heap.pop(size) else { return heap.pointee.freeElsewhere == nil ? slowMalloc(size) : nil }
  return item
}
