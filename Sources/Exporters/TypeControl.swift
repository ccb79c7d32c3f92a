// SPDX-License-Identifier: BSD-2-Clause
//
// The controls that each malloc type has, below `type` and its name: what it holds, and its limit, which can be set.

import Inspection

public struct TypeControl: Sendable {
  public let name: String
  public let meaning: String
  public let isWritable: Bool
  let value: @Sendable (TypeSnapshot) -> Int

  public static let all: [TypeControl] = [
    TypeControl(name: "limit", meaning: "Bytes that may be in use, counted as memuse is; 0 for no limit.", isWritable: true) { $0.limit },
    TypeControl(name: "inuse", meaning: "Blocks in the program's hands.", isWritable: false) { $0.used },
    TypeControl(name: "memuse", meaning: "Their bytes, of classes and whole pages.", isWritable: false) { $0.usedBytes },
    TypeControl(name: "requests", meaning: "Successful requests since the start.", isWritable: false) { Int($0.allocations) },
    TypeControl(name: "fails", meaning: "Requests that failed.", isWritable: false) { Int($0.failures) },
    TypeControl(name: "sleeps", meaning: "Requests that had to wait, at the limit or for memory.", isWritable: false) { Int($0.sleeps) },
  ]

  /// All that a look has. Memory without a type has none: it can have no limit.
  static func controls(of snapshot: Snapshot) -> [Control] {
    named(snapshot).flatMap { name, type in
      all.map { Control(name: "type.\(name).\($0.name)", value: .number($0.value(type)), meaning: $0.meaning, option: nil, isLimit: $0.isWritable) }
    }
  }

  private static func named(_ snapshot: Snapshot) -> [(String, TypeSnapshot)] {
    let types = snapshot.types.filter { $0.number != 0 }
    return Array(zip(uniqueNames(types.map { ControlTree.mangled($0.label) }), types))
  }

  /// Whether an assignment is to a type's control; then the process must be looked at to tell which.
  public static func isMeant(by assignment: String) -> Bool { assignment.hasPrefix("type.") }

  /// What `type.NAME.limit=BYTES` says. Throws `usage` if it says nothing that the process could do.
  public static func assignment(_ text: String, in snapshot: Snapshot) throws(InspectionError) -> (type: TypeSnapshot, name: String, bytes: Int) {
    guard let equals = text.firstIndex(of: "=") else { throw .usage("\(text) is no assignment: say NAME=VALUE") }
    let (name, value) = (String(text[..<equals]), String(text[text.index(after: equals)...]))
    guard let (_, type) = named(snapshot).first(where: { "type.\($0.0).limit" == name }) else {
      // Or the nearest is named.
      let found = try ControlTree(ControlSource(snapshot, largestFree: nil)).find(name)
      throw .usage(found.count == 1 ? "\(name) can only be read" : "there is no control \(name); did you mean \(name).limit?")
    }
    guard let bytes = Int(value), bytes >= 0 else { throw .usage("\(name) takes a number of bytes, 0 for no limit; not \(value)") }
    return (type, name, bytes)
  }
}
