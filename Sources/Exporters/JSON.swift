// SPDX-License-Identifier: BSD-2-Clause
//
// JSON text from values, in the order given. Enough for what the command prints; names are stable.

public enum JSON: Sendable {
  case null
  case number(Int)
  case real(Double)
  case text(String)
  case list([JSON])
  case object([(String, JSON)])

  public var description: String {
    switch self {
    case .null: return "null"
    case .number(let value): return String(value)
    case .real(let value): return value.isFinite ? String(value) : "null"
    case .text(let value): return JSON.quoted(value)
    case .list(let values): return "[" + values.map(\.description).joined(separator: ",") + "]"
    case .object(let members):
      return "{" + members.map { JSON.quoted($0.0) + ":" + $0.1.description }.joined(separator: ",") + "}"
    }
  }

  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      default:
        if scalar.value < 32 {
          let digits = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}
