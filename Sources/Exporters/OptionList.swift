// SPDX-License-Identifier: BSD-2-Clause
//
// The library's options for readers: as text, as JSON, for the README; the manual is made from its entries. All of it from the one
// list that the library itself reads (Heap/Options.swift).

import Accounting
import Heap
import Primitives

public enum OptionList {
  public struct Entry: Sendable {
    public let key: String
    /// The words it takes; empty for a number.
    public let words: [String]
    public let summary: String
    /// The default.
    public let standard: String
    /// What it is without a value is drawn by lot.
    let isDrawn: Bool
    /// Whether `stave set` changes it in a running process.
    public let isChangeable: Bool
    let least: Int
    let limit: Int
    private let option: Option
    private let listPrefix: String
    /// Names of malloc types are taken as well; and of zones.
    public let takesNames: Bool
    private let takesZones: Bool
    private let isBytes: Bool
    private let takesPath: Bool

    init(_ option: Option) {
      self.option = option
      key = option.key.description
      words = (0..<3).map { option.words[$0].description }.filter { !$0.isEmpty }
      isChangeable = option.isChangeable
      isDrawn = option.isDrawn
      listPrefix = option.listPrefix.description
      takesNames = option.nameUse != nil
      takesZones = option.takesZones
      isBytes = option.isBytes
      takesPath = option.takesPath
      least = Int(option.least)
      limit = Int(option.limit)
      standard = option.isDrawn ? "drawn" : option.takesWords ? option.words[Int(option.defaultValue)].description : "\(option.defaultValue)"
      summary = option.summary.description
    }

    /// What it takes, in words.
    public var values: String {
      if takesPath { return (words.dropLast() + ["/path"]).joined(separator: ", ") }
      if !words.isEmpty {
        return (words + (listPrefix.isEmpty ? [] : [listPrefix + "a+b"]) + (takesNames ? ["up to \(TypeNames.most) names as in a+b"] : [])).joined(separator: ", ")
      }
      if isBytes { return limit < .max ? "bytes, \(Self.bytes(least)) to \(Self.bytes(limit))" : "bytes, as 512M" }
      if limit == 1 { return "0, 1" }
      return limit == .max ? "\(least) or more" : "\(least) to \(limit)"
    }

    /// As `values`, for who said something else: without what only a start takes where it runs already.
    func accepted(isRunning: Bool) -> String {
      if takesPath && isRunning { return (words.dropLast() + ["\(words.last ?? "") (the one given at start)"]).joined(separator: ", ") }
      if !listPrefix.isEmpty && isRunning { return words.joined(separator: ", ") }
      return values
    }

    /// As an option's value may be written, in the largest unit that it is a multiple of.
    private static func bytes(_ number: Int) -> String {
      let unit = number == 0 ? 0 : min(4, number.trailingZeroBitCount / 10)
      return "\(number >> (10 * unit))\(["", "K", "M", "G", "T"][unit])"
    }

    func takes(_ value: String) -> Bool {
      number(of: value) != nil || !names(in: value).isEmpty || takesList(value) || isPath(value)
    }
    func isPath(_ value: String) -> Bool { takesPath && value.hasPrefix("/") && (2..<256).contains(value.utf8.count) }

    /// The names of a list as the library keeps them; empty for what is no list, too long a one, or a word.
    func names(in value: String) -> [ListedName] {
      guard takesNames, number(of: value) == nil else { return [] }
      var names: [ListedName] = []
      Array(value.utf8).withUnsafeBufferPointer { text in forEachListedName(in: text, withZones: takesZones) { names.append($0) } }
      return names.count > TypeNames.most ? [] : names
    }

    func takesList(_ value: String) -> Bool { !listPrefix.isEmpty && value.hasPrefix(listPrefix) }

    /// The number that the library has for a value; nil for what it does not take.
    func number(of value: String) -> Int64? {
      if !words.isEmpty { return words.firstIndex(of: value).map(Int64.init) }
      let bytes = Array(value.utf8)
      let number = bytes.withUnsafeBufferPointer { text -> Int64? in
        guard let start = text.baseAddress else { return nil }
        let slice = TextSlice(start: start, count: text.count)
        return isBytes ? slice.bytes : slice.number
      }
      return number.map(option.clamped).flatMap { option.takes($0) ? $0 : nil }
    }
  }

  public static var entries: [Entry] { (0..<Option.count).map { Entry(Option(rawValue: $0)!) } }

  public static var lines: [String] {
    var table = TextTable(["KEY", "VALUES", "DEFAULT", "SET", "MEANING"])
    table.leftColumns = [0, 1, 2, 3, 4]
    for entry in entries { table.rows.append([entry.key, entry.values, entry.standard, entry.isChangeable ? "any time" : "at start", entry.summary]) }
    return table.lines().map(\.trimmingRight)
  }

  public static var json: JSON {
    .object([
      (
        "options",
        .list(
          entries.map { entry in
            var members: [(String, JSON)] = [("key", .text(entry.key))]
            if entry.words.isEmpty {
              members += [("least", .number(entry.least)), ("largest", .number(entry.limit)), ("default", entry.isDrawn ? .null : .number(Int(entry.standard) ?? 0))]
            } else {
              members += [("values", .list(entry.words.map(JSON.text))), ("default", .text(entry.standard))]
            }
            return .object(members + [("settable", .text(entry.isChangeable ? "any time" : "at start")), ("summary", .text(entry.summary))])
          })
      )
    ])
  }

  /// The README's table.
  public static var markdown: [String] {
    ["| key | values | default | set | meaning |", "|---|---|---|---|---|"]
      + entries.map { "| \($0.key) | \($0.values) | \($0.standard) | \($0.isChangeable ? "any time" : "at start") | \($0.summary) |" }
  }

  /// What is wrong with `key:value,…`, as a sentence; nil if nothing is.
  public static func problem(in text: String) -> String? {
    for piece in text.split(separator: ",") {
      let parts = piece.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard let entry = entries.first(where: { $0.key == parts[0].lowercased() }) else {
        let hint = nearest(to: parts[0], among: entries.map(\.key)).map { "; did you mean \($0)?" } ?? "."
        return "The library has no option \(parts[0])\(hint) `stave options` lists those it has."
      }
      guard parts.count == 2 else { return "\(entry.key) wants a value, as in \(entry.key):\(entry.isDrawn ? "\(entry.least)" : entry.standard)." }
      if !entry.takes(parts[1]) { return "\(entry.key) takes \(entry.accepted(isRunning: false)); not \(parts[1])." }
    }
    return nil
  }
}
