// SPDX-License-Identifier: BSD-2-Clause
//
// Names by which each of several zones can be told from the others, where only a name may be said.

import Inspection
import Primitives

/// In the order of `zones`: the label after `change`, with "_1", "_2"… behind it where an earlier one is the same.
func uniqueNames(_ zones: [ZoneSnapshot], _ change: (String) -> String = { $0 }) -> [String] {
  var taken: Set<String> = []
  return zones.map { zone in
    var name = change(zone.label)
    var number = 0
    while !taken.insert(name).inserted {
      number += 1
      name = change(zone.label) + "_\(number)"
    }
    return name
  }
}

/// The one of `known` that is spelt most like `word`; nil if there are none.
public func nearest(to word: String, among known: [String]) -> String? {
  func distance(_ other: String) -> Int {
    Array(word.utf8).withUnsafeBufferPointer { one in Array(other.utf8).withUnsafeBufferPointer { spellingDistance(one, $0) } }
  }
  return known.min { distance($0) < distance($1) }
}
