// SPDX-License-Identifier: BSD-2-Clause
//
// The command line.

import Foundation

struct Options {
  private var chosenRounds: Int?
  var only: String?
  var quick = false
  var library: String?
  var allocators: [String] = []
  var half: String?
  var output: String?
  var details = false
  var summary = false
  var types = false
  var modes = false
  var zones = false
  var into: String?
  var measure = Measure.wall
  var patience = 10.0
  var operands: [String] = []

  static let usage = """
    usage: stave-bench [run] [options]       measure, print tables, write JSON and pictures
           stave-bench zones [options]       the same of zones, pools, deferred reuse, packets and the relay
           stave-bench list [options]        what would be measured, and under what
           stave-bench table [options] FILE  Markdown from a JSON file (--text: as printed)
           stave-bench table --summary FILE  half a page of it; --into README puts it between the marks there
           stave-bench table --types FILE    the cost of counting, half a page; --into likewise
           stave-bench table --modes FILE    what Stave's options cost, against Stave without; --into likewise
           stave-bench table --zones FILE    of a session of `stave-bench zones`; --into likewise
           stave-bench picture FILE          draws FILE.svg, FILE-scale.svg and so on beside a JSON file

      --rounds N            rounds (5; 1 if quick; of zones 7 and 5); of scale/ three at most, the least counts; memory/ is measured once
      --only REGEX          scenarios whose name, such as threaded/handoff, matches
      --quick               a tenth of the work: to see that all is well, not for figures to quote
      --library PATH        Stave's library (../build/libstave.so)
      --allocators A,B      only these; name=path adds a library, and is no peer if the name begins with stave;
                            stave+check:1+stacks:1 is Stave with these options
      --patience SECONDS    how long a threaded run waits for idle CPUs (10; 2 if quick)
      --split tune|judge    only that half of split.txt
      --measure wall|cpu    what counts as time (wall)
      --details             least, median, spread and calm of every cell
      --output FOLDER       where results go (results)
    """

  init(_ words: [String]) throws {
    var rest = words[...]
    func value(_ option: String) throws -> String {
      guard let value = rest.popFirst() else { throw Complaint("\(option) needs a value") }
      return value
    }
    var patience: Double?
    while let word = rest.popFirst() {
      switch word {
      case "--rounds":
        guard let number = Int(try value(word)), number > 0 else { throw Complaint("--rounds needs a number") }
        chosenRounds = number
      case "--patience":
        guard let seconds = Double(try value(word)), seconds >= 0 else { throw Complaint("--patience needs seconds") }
        patience = seconds
      case "--only": only = try value(word)
      case "--quick": quick = true
      case "--library": library = try value(word)
      case "--allocators": allocators = try value(word).split(separator: ",").map(String.init)
      case "--split":
        half = try value(word)
        guard half == "tune" || half == "judge" else { throw Complaint("--split is tune or judge") }
      case "--measure":
        guard let chosen = Measure(rawValue: try value(word)), chosen != .peak else { throw Complaint("--measure is wall or cpu") }
        measure = chosen
      case "--details": details = true
      case "--summary": summary = true
      case "--types": types = true
      case "--modes": modes = true
      case "--zones": zones = true
      case "--into": into = try value(word)
      case "--output": output = try value(word)
      case "--text": operands.append(word)
      case _ where word.hasPrefix("-"): throw Complaint("unknown option \(word)\n\(Options.usage)")
      default: operands.append(word)
      }
    }
    self.patience = patience ?? (quick ? 2 : 10)
  }

  var scale: Double { quick ? 0.1 : 1 }
  var rounds: Int { chosenRounds ?? (quick ? 1 : 5) }
  var roundsOfZones: Int { chosenRounds ?? (quick ? 5 : 7) }
}
