// SPDX-License-Identifier: BSD-2-Clause
//
// Names by which each of several zones, or types, can be told from the others, where only a name may be said.

import Inspection
import Primitives

/// In the order of `zones`: the label after `change`, with "_1", "_2"… behind it where an earlier one is the same.
func uniqueNames(_ zones: [ZoneSnapshot], _ change: (String) -> String = { $0 }) -> [String] {
  uniqueNames(zones.map { change($0.label) })
}

/// In the order of `labels`.
func uniqueNames(_ labels: [String]) -> [String] {
  var taken: Set<String> = []
  // How far each name's numbers have come: a damaged process may have thousands of zones of one name.
  var numbers: [String: Int] = [:]
  return labels.map { plain in
    var name = plain
    while !taken.insert(name).inserted {
      let number = numbers[plain, default: 0] + 1
      numbers[plain] = number
      name = plain + "_\(number)"
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
