// SPDX-License-Identifier: BSD-2-Clause
//
// The controls of one process by name: all, a subtree, one; and an assignment to one, checked before anybody is asked.

import Accounting
import Heap
import Inspection
import Primitives

public struct Control: Sendable {
  public let name: String
  public let value: ControlValue
  public let meaning: String
  /// Nil: it can only be read.
  public let option: Option?
  /// A type's limit, which can be set as well.
  public var isLimit = false

  public var isWritable: Bool { isLimit || option?.isChangeable ?? false }
}

/// What one assignment asks for.
public struct Assignment {
  public let control: GlobalControl
  public let option: Option
  public let value: Int64
  /// Instead of a value, of an option that takes names of types.
  public let names: [ListedName]
  /// The value as it is written.
  public let text: String
}

extension Assignment {
  /// What can have the names of its list.
  public var named: String { option.takesZones ? "malloc type or zone" : "malloc type" }

  /// Of a list of whom guards or guard bytes are for: the names that nothing has in the process now.
  public func unknownNames(in snapshot: Snapshot) -> [String] {
    guard !names.isEmpty, option.nameUse == .guards || option.nameUse == .redZone else { return [] }
    let entry = OptionList.Entry(option)
    var words: [String] = []
    Array(text.utf8).withUnsafeBufferPointer { text in
      forEachName(in: text) { name in words.append(String(decoding: (0..<name.count).map { name.bytes[$0] }, as: UTF8.self)) }
    }
    return words.filter { !snapshot.knows(entry.names(in: $0), zones: option == .memguardType) }
  }
}

public struct ControlTree {
  public let controls: [Control]

  public init(_ source: ControlSource) {
    let snapshot = source.snapshot
    let global = GlobalControl.all.compactMap { one in
      one.value(source).map { Control(name: one.name, value: $0, meaning: one.meaning, option: one.option) }
    }
    let names = uniqueNames(snapshot.zones, Self.mangled)
    let zones = zip(names, snapshot.zones).flatMap { name, zone in
      (ZoneControl.all + (1..<zone.domainCount).flatMap(ZoneControl.domain)).map { Control(name: "vm.uma.\(name).\($0.name)", value: $0.value(zone, snapshot), meaning: $0.meaning, option: nil) }
    }
    controls = (global + zones + TypeControl.controls(of: snapshot)).sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  /// What sets the parts of names apart, or cannot be in them, becomes "_".
  static func mangled(_ name: String) -> String { String(name.map { "./\\ -".contains($0) ? "_" : $0 }) }

  /// A control, or all below a name. Throws `usage` with the nearest name if there is none.
  public func find(_ name: String) throws(InspectionError) -> [Control] {
    let path = name.hasSuffix(".") ? String(name.dropLast()) : name
    let found = controls.filter { $0.name == path || $0.name.hasPrefix(path + ".") }
    if !found.isEmpty { return found }
    throw .usage("there is no control \(name)" + Self.hint(path, among: namesAndPrefixes))
  }

  private var namesAndPrefixes: [String] {
    var all: Set<String> = []
    for control in controls {
      var path = ""
      for part in control.name.split(separator: ".") {
        path += (path.isEmpty ? "" : ".") + part
        all.insert(path)
      }
    }
    return all.sorted()
  }

  private static func hint(_ word: String, among known: [String]) -> String { nearest(to: word, among: known).map { "; did you mean \($0)?" } ?? "" }

  // MARK: - Writing

  /// What `name=value` says. The name may go without "stave.". Throws `usage` if it says nothing that a process could do.
  public static func assignment(_ text: String) throws(InspectionError) -> Assignment {
    guard let equals = text.firstIndex(of: "=") else { throw .usage("\(text) is no assignment: say NAME=VALUE") }
    let (name, value) = (String(text[..<equals]), String(text[text.index(after: equals)...]))
    guard let control = GlobalControl.all.first(where: { $0.name == name }) ?? GlobalControl.all.first(where: { $0.name == "stave." + name }) else {
      if name.hasPrefix("vm.uma.") { throw .usage("\(name) can only be read") }
      throw .usage("there is no control \(name)" + hint(name, among: GlobalControl.all.filter { $0.option != nil }.flatMap { [$0.name, $0.option!.key.description] }))
    }
    guard let option = control.option else {
      throw .usage("\(control.name) can only be read")
    }
    guard option.isChangeable else { throw .usage("\(control.name) takes its value only when the program starts (STAVE_OPTIONS)") }
    let entry = OptionList.Entry(option)
    if entry.takesList(value) { throw .usage("\(control.name) takes a list of names only when the program starts (STAVE_OPTIONS)") }
    if entry.isPath(value) {
      let others = entry.words.dropLast().joined(separator: " and ")
      throw .usage("\(control.name) takes a path only when the program starts (STAVE_OPTIONS=\(entry.key):\(value)); it takes \(others) at any time, and file for the path given at start")
    }
    let names = entry.names(in: value)
    if !names.isEmpty { return Assignment(control: control, option: option, value: Int64(ListMode.listed), names: names, text: value) }
    guard let number = entry.number(of: value) else { throw .usage("\(control.name) takes \(entry.accepted(isRunning: true)); not \(value)") }
    return Assignment(control: control, option: option, value: number, names: [], text: Self.text(option, Int(number)))
  }

  /// An option's value, as it is written.
  public static func text(_ option: Option, _ value: Int) -> String {
    option.takesWords && option.takes(Int64(value)) ? option.words[value].description : "\(value)"
  }

  // MARK: - Text

  public static func lines(_ controls: [Control]) -> [String] { controls.map { "\($0.name): \($0.value.text)" } }

  /// With type, access and meaning, instead of values.
  public static func descriptions(_ controls: [Control]) -> [String] {
    var table = TextTable(["NAME", "TYPE", "ACCESS", "MEANING"])
    table.leftColumns = [0, 1, 2, 3]
    for one in controls { table.rows.append([one.name, one.value.type, one.isWritable ? "read, set" : "read", one.meaning]) }
    return table.lines().map(\.trimmingRight)
  }

  public static func json(_ controls: [Control]) -> JSON { .object(controls.map { ($0.name, $0.value.json) }) }
}

extension ZoneSnapshot {
  /// As in "0x4 malloc".
  var flagText: String {
    let names = [
      "zeroinit", "offpage", "malloc", "nofree", "vm", "maxbucket", "nobucket", "refcnt", "cachespread", "notouch", "pcpu", "smr", "unmanaged",
      "nodump", "notpage", "firsttouch", "internal", "ctordtor", "dying", "bucket", "limit", "cache", "secondary", "awaited", "pool", "roundrobin",
      "divided", "part",
    ]
    let set = names.indices.compactMap { flags >> UInt32($0) & 1 == 1 ? names[$0] : nil }
    return ([UInt(flags).hexadecimal] + set).joined(separator: " ")
  }
}
