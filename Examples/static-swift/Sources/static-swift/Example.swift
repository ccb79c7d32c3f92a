// SPDX-License-Identifier: BSD-2-Clause
//
// Objects, strings, tasks, queues and Foundation, on the malloc that is linked in.

import Dispatch
import Foundation

final class Node {
  let text: String
  let next: Node?

  init(_ text: String, _ next: Node?) {
    self.text = text
    self.next = next
  }
}

func letters(_ seed: Int) -> Int {
  var list: Node?
  for number in 0..<2000 { list = Node("item \(seed &* number)", list) }
  var sum = 0
  while let node = list {
    sum += node.text.utf8.count
    list = node.next
  }
  return sum
}

@main enum Example {
  static func main() async throws {
    let total = await withTaskGroup(of: Int.self) { group in
      for seed in 0..<20 { group.addTask { letters(seed) } }
      var sum = 0
      for await part in group { sum += part }
      return sum
    }
    DispatchQueue.concurrentPerform(iterations: 8) { _ = letters($0) }
    let figures: [String: Any] = ["total": total, "squares": (0..<10).map { $0 * $0 }]
    let json = try JSONSerialization.data(withJSONObject: figures, options: .sortedKeys)
    print(String(decoding: json, as: UTF8.self))
  }
}
