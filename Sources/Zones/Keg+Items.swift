// SPDX-License-Identifier: BSD-2-Clause
//
// The items of a slab, free or not.

import CPlatform

extension UnsafeMutablePointer where Pointee == Keg {
  /// The keg of a slab that the owner map has named.
  public static func keg(ofSlab header: UnsafeMutableRawPointer) -> KegPointer? {
    stave_kegs()[Int(header.assumingMemoryBound(to: Slab.self).pointee.kegIndex)]?.assumingMemoryBound(to: Keg.self)
  }

  /// Calls `body` with the address of each. Takes no lock.
  public func forEachItem(ofSlab header: UnsafeMutableRawPointer, _ body: (UInt) -> Void) {
    let slab = header.assumingMemoryBound(to: Slab.self)
    for index in 0..<pointee.layout.items { body(item(index, of: slab)) }
  }
}
