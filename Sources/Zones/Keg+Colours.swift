// SPDX-License-Identifier: BSD-2-Clause
//
// Colours: slabs that leave room behind their items begin them at different places, in turn, so that the first items of all slabs do
// not fight for the same lines of the processor's cache. A colour is a number of steps, each of the keg's alignment, and stands in the
// slab's header; an item's address and its number follow from each other by way of it, on every path. Kegs without colours have 0.

extension UnsafeMutablePointer where Pointee == Keg {
  /// From a slab's start to its item 0.
  @inline(__always)
  func firstItem(of slab: SlabPointer) -> Int {
    pointee.layout.firstItem &+ Int(slab.pointee.colour) &* (pointee.alignMask &+ 1)
  }

  /// The next slab's colour: 0, 1 … `colours`, 0. Two that ask at once may get the same.
  func takeColour() -> UInt8 {
    guard pointee.colours > 0 else { return 0 }
    let colour = pointee.nextColour
    pointee.nextColour = colour >= pointee.colours ? 0 : colour + 1
    return colour
  }
}
