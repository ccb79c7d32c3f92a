// SPDX-License-Identifier: BSD-2-Clause
//
// Inputs for real programs, made up the same way each time: sources to compile, a history to import into git.

/// Numbers that look random and are the same in every run.
private struct Dice {
  var state: UInt64
  mutating func roll(_ sides: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % UInt64(sides))
  }
}

enum Inputs {
  static func c(functions: Int) -> String {
    var text = "#include <stddef.h>\nstruct node { struct node *next; int key; double weight; char name[24]; };\n"
    for i in 0..<functions {
      let earlier = i == 0 ? "(int)n" : "step\(i / 2)(list, n / 2)"
      text += """
        int step\(i)(struct node *list, size_t n) {
          int total = \(i % 17), table[\(8 + i % 9)] = {\(i % 5), \(i % 7), \(i % 3)};
          for (struct node *at = list; at; at = at->next) {
            switch (at->key % \(4 + i % 5)) {
              case 0: total += table[at->key % 8]; break;
              case 1: at->weight *= 1.\(i % 89 + 1); total -= at->name[\(i % 24)]; break;
              case 2: for (size_t k = 0; k < n; k++) total ^= at->name[k % 24] << (k & 7); break;
              default: table[(unsigned)total % 8] += at->key;
            }
          }
          return n < 2 ? total : total + \(earlier);
        }

        """
    }
    return text
  }

  static func swift(functions: Int) -> String {
    var text = "protocol Shape { var area: Double { get }; func scaled(by k: Double) -> Self }\n"
    for i in 0..<functions {
      text += """
        struct Shape\(i): Shape, Hashable, Codable {
          var width = \(i).5, height = 2.0, names: [String: [Int]] = ["a": [\(i), 2], "b": []]
          var area: Double { width * height + Double(names.count) }
          func scaled(by k: Double) -> Shape\(i) { Shape\(i)(width: width * k, height: height * k, names: names) }
        }
        func total\(i)(_ shapes: [Shape\(i)], limit: Double = 10) -> [String] {
          let chosen = shapes.filter { $0.area < limit * 2 + 1 }.map { $0.scaled(by: 1.5) }
          let sums = chosen.reduce(into: [:] as [String: Int]) { sums, shape in
            for (name, values) in shape.names { sums[name, default: 0] += values.map { $0 * 2 }.reduce(0, +) }
          }
          return sums.sorted { $0.value < $1.value || $0.key < $1.key }.map { "\\($0.key): \\($0.value)" }
        }

        """
    }
    return text
  }

  /// A stream for git fast-import: files of some hundred lines, a few of them edited in each commit.
  static func history(commits: Int, files: Int) -> String {
    var dice = Dice(state: 7)
    func line(_ dice: inout Dice) -> String {
      (0..<(3 + dice.roll(8))).map { _ in "word\(dice.roll(900))" }.joined(separator: " ") + "\n"
    }
    var contents = (0..<files).map { _ in (0..<300).map { _ in line(&dice) } }
    var text = ""
    for commit in 0..<commits {
      let message = "Change \(commit): \(line(&dice))"
      text += "commit refs/heads/main\ncommitter Someone <someone@example.org> \(1_700_000_000 + commit * 3600) +0000\n"
      text += "data \(message.utf8.count)\n\(message)\n"
      for file in commit == 0 ? Array(0..<files) : (0..<4).map({ _ in dice.roll(files) }) {
        for _ in 0..<12 { contents[file][dice.roll(300)] = line(&dice) }
        let body = contents[file].joined()
        text += "M 100644 inline folder\(file % 7)/file\(file).txt\ndata \(body.utf8.count)\n\(body)\n"
      }
    }
    return text
  }
}
