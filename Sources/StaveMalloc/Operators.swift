// SPDX-License-Identifier: BSD-2-Clause
//
// What C++'s operators need beyond malloc and free; the operators themselves are in CStaveMalloc/operators.c.

import CPlatform
import Heap

/// operator new. When memory runs out, the C++ library's own runs the new_handler and throws.
@_silgen_name("stave_new")
public func staveNew(_ size: UInt) -> UnsafeMutableRawPointer? {
  guard let memory = Heap.allocate(size) else { return stave_new_failed(Int(bitPattern: size)) }
  return memory
}

/// `alignment` is a power of two: the compiler makes it.
@_silgen_name("stave_aligned")
public func staveAligned(_ alignment: UInt, _ size: UInt) -> UnsafeMutableRawPointer? {
  Heap.allocate(size, alignment: alignment)
}
