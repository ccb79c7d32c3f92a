// SPDX-License-Identifier: BSD-2-Clause
//
// How far apart two words are, to name the one that was meant.

/// Insertions, deletions and substitutions of bytes that lead from one to the other, letters of either case being the same. Longer
/// than 95 bytes counts as far away. Costs the product of the lengths.
public func spellingDistance(_ one: UnsafeBufferPointer<UInt8>, _ other: UnsafeBufferPointer<UInt8>) -> Int {
  guard one.count < 96, other.count < 96 else { return 192 }
  var row = InlineArray<96, Int>(repeating: 0)
  for column in 0...other.count { row[column] = column }
  for line in 0..<one.count {
    var diagonal = row[0]
    row[0] = line + 1
    for column in 0..<other.count {
      let change = diagonal + (one[line] | 32 == other[column] | 32 ? 0 : 1)
      diagonal = row[column + 1]
      row[column + 1] = min(change, min(row[column] + 1, diagonal + 1))
    }
  }
  return row[other.count]
}
