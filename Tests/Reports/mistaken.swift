// SPDX-License-Identifier: BSD-2-Clause
//
// A method that frees the inside of a block, called from a closure that a generic function calls.

import Glibc

final class Basket {
  let block = UnsafeMutableRawPointer(malloc(200)!)
  var turns = 0

  @inline(never) func spill(at offset: Int) {
    free(block + offset)
    turns += 1
  }
}

@inline(never) func visit<Items: Collection>(_ items: Items, _ body: (Items.Element) -> Void) {
  for item in items { body(item) }
}

let basket = Basket()
visit([48]) { basket.spill(at: $0) }
print("went on")
