// SPDX-License-Identifier: BSD-2-Clause
//
// stave.h's contigmalloc. Seven words: Swift passes the seventh otherwise than C does, so C gives the five conditions by address
// (CStaveMalloc/contiguous.c).

import Accounting
import CPlatform
import Heap
import Pages
import Zones

@_silgen_name("stave_contiguous_allocate")
public func staveContigmalloc(
  _ conditions: UnsafePointer<UInt>, _ author: UnsafeMutablePointer<stave_type>, _ flags: Int32
) -> UnsafeMutableRawPointer? {
  guard let type = record(of: author) else { return stave_no_memory() }
  let request = ContiguousRequest(
    size: conditions[0], low: conditions[1], high: conditions[2], alignment: conditions[3], boundary: conditions[4])
  return Heap.allocateContiguous(request, type: type, WaitFlags(rawValue: flags))
}

@_silgen_name("stave_contigfree")
public func staveContigfree(_ block: UnsafeMutableRawPointer?, _ size: UInt, _ author: UnsafeMutablePointer<stave_type>?) {
  Heap.freeContiguous(block, size: size)
}
