// SPDX-License-Identifier: BSD-2-Clause
//
// What `stave leaks` found, as text and as JSON: a paragraph for each group of lost blocks, the largest first, then what was looked at
// and what was not.

import Inspection

public struct LeakTable {
  private let reading: LeakReading
  private let target: String

  public init(_ reading: LeakReading, target: String) {
    self.reading = reading
    self.target = target
  }

  /// With what `stack` says of a stack's number. `limit`: groups at most.
  public func lines(limit: Int = .max, stack: (UInt32) -> [String]) -> [String] {
    var lines: [String] = []
    for group in reading.groups.prefix(limit) {
      lines.append(Self.headline(group))
      lines.append("  at \(group.addresses.map(\.hexadecimal).joined(separator: ", "))" + (group.count > group.addresses.count ? ", …" : ""))
      let frames = stack(group.stack)
      if !frames.isEmpty { lines += ["  allocated by"] + frames.map { "  " + $0 } }
      lines.append("")
    }
    let rest = reading.groups.dropFirst(limit)
    if !rest.isEmpty {
      let count = rest.reduce(0) { $0 + $1.count + $1.heldCount }, bytes = rest.reduce(0) { $0 + $1.bytes + $1.heldBytes }
      lines += ["and \(Self.several(rest.count, "smaller group")) with \(Self.several(count, "block")) of \(Self.size(bytes)): --all shows them", ""]
    }
    return lines + summary + unseen
  }

  private static func headline(_ group: LeakReading.Group) -> String {
    var text = "\(several(group.count, "block")) of \(several(group.size, "byte"))\(group.count > 1 ? " (\(size(group.bytes)))" : "") lost"
    if group.heldCount > 0 { text += ", with \(several(group.heldCount, "block")) (\(size(group.heldBytes))) that only \(group.count > 1 ? "they lead" : "it leads") to" }
    let place = group.isLarge ? "large" : group.isGuarded ? "guarded" : "zone \(group.zone)"
    return text + ": \(place)" + (group.isMalloc || group.type != "malloc" ? ", type \(group.type)" : "")
  }

  private var summary: [String] {
    let lost = reading.lostCount + reading.heldCount
    var text = "\(Self.several(reading.items, "block")) (\(Self.size(reading.itemBytes))) looked at: "
    text += lost == 0 ? "none is lost" : "\(lost) lost (\(Self.size(reading.lostBytes + reading.heldBytes)))"
    if reading.heldCount > 0 { text += ", \(reading.lostCount) directly, \(reading.heldCount) by way of others" }
    var lines = [text + "."]
    if reading.innerCount > 0 {
      lines.append("\(Self.several(reading.innerCount, "block")) (\(Self.size(reading.innerBytes))) not lost, but reached by addresses of their middle alone.")
    }
    text = "Searched: the registers of \(Self.several(reading.threads, "thread")), \(Self.size(reading.rootBytes)) of stacks, globals and other memory, and the blocks."
    if let held = reading.heldFor { text += " The process was held for \(Self.milliseconds(held))." }
    lines.append(text)
    if lost > 0 { lines.append(agesAndStacks) }
    return lines
  }

  /// What of blocks is not recorded.
  private var agesAndStacks: String {
    let without = reading.groups.filter { $0.stack == 0 }.reduce(0) { $0 + $1.count }
    if without == 0 { return "How old blocks are is not recorded." }
    let whose = without == reading.lostCount ? "" : " of \(without) of them"
    return "How old blocks are is not recorded, nor\(whose) who asked for them: that is known of blocks made with redzone:1 or memguard:1."
  }

  private var unseen: [String] {
    var lines: [String] = []
    func say(_ count: Int, _ text: @autoclosure () -> String) { if count > 0 { lines.append("Not seen: " + text() + ".") } }
    say(reading.threadsInside, "what \(Self.several(reading.threadsInside, "thread")) \(reading.isLinkedIn ? "that may have been " : "")inside malloc or free had in hand: up to \(reading.threadsInside * reading.mostInHand) free items may look lost")
    say(reading.threadsWithoutRegisters, "the registers of \(Self.several(reading.threadsWithoutRegisters, "thread")); what their stacks had before was taken for alive")
    say(reading.devices, "\(Self.several(reading.devices, "mapping")) of devices (\(Self.size(reading.deviceBytes)))")
    say(reading.leftOutBytes, "\(Self.size(reading.leftOutBytes)) that the core does not have")
    say(reading.unreadRootBytes, "\(Self.size(reading.unreadRootBytes)) of mappings that cannot be read")
    say(reading.unreadItemBytes, "\(Self.size(reading.unreadItemBytes)) of blocks that cannot be read")
    say(reading.emptyGuarded, "what is in \(Self.several(reading.emptyGuarded, "guarded block")), which gdb leaves out of cores (the kernel does not): what only they lead to looks lost")
    say(reading.contradictions, "\(Self.several(reading.contradictions, "block")) that contradict others: Stave's own structures may be damaged")
    if reading.zoneItems > 0 { lines.append("\(Self.several(reading.zoneItems, "item")) of zones \(reading.zoneItems == 1 ? "was" : "were") not looked at.") }
    return lines
  }

  static func several(_ count: Int, _ noun: String) -> String { count == 1 ? "1 \(noun)" : "\(count) \(noun)s" }
  static func size(_ bytes: Int) -> String { bytes < 1000 ? several(bytes, "byte") : bytes.humanBytes }
  private static func milliseconds(_ seconds: Double) -> String {
    let tenths = Int(min(1e9, max(0, seconds * 10_000)).rounded())
    return tenths < 100 ? "\(tenths / 10).\(tenths % 10) ms" : "\((tenths + 5) / 10) ms"
  }

  public var json: JSON {
    func figures(_ figures: [(String, Int)]) -> JSON { .object(figures.map { ($0.0, .number($0.1)) }) }
    return .object([
      ("target", .text(target)), ("looked-at", figures([("blocks", reading.items), ("bytes", reading.itemBytes), ("roots", reading.rootBytes), ("threads", reading.threads)])),
      ("lost", figures([("blocks", reading.lostCount), ("bytes", reading.lostBytes)])),
      ("held-by-lost", figures([("blocks", reading.heldCount), ("bytes", reading.heldBytes)])),
      ("inner", figures([("blocks", reading.innerCount), ("bytes", reading.innerBytes)])),
      ("held-seconds", reading.heldFor.map(JSON.real) ?? .null),
      (
        "unseen",
        figures([
          ("linked-in", reading.isLinkedIn ? 1 : 0), ("threads-inside", reading.threadsInside), ("items-in-hand-at-most", reading.threadsInside * reading.mostInHand),
          ("threads-without-registers", reading.threadsWithoutRegisters), ("device-mappings", reading.devices), ("device-bytes", reading.deviceBytes),
          ("not-in-core", reading.leftOutBytes), ("unreadable-mappings", reading.unreadRootBytes), ("unreadable-blocks", reading.unreadItemBytes),
          ("guarded-not-in-core", reading.emptyGuarded), ("contradictions", reading.contradictions),
          ("items-of-zones", reading.zoneItems),
        ])
      ),
      ("groups", .list(reading.groups.map(Self.json))),
    ])
  }

  private static func json(_ group: LeakReading.Group) -> JSON {
    .object([
      ("type", .text(group.type)), ("zone", .text(group.zone)), ("size", .number(group.size)), ("blocks", .number(group.count)), ("bytes", .number(group.bytes)),
      ("holds", .object([("blocks", .number(group.heldCount)), ("bytes", .number(group.heldBytes))])), ("stack", .number(Int(group.stack))), ("age", .null),
      ("addresses", .list(group.addresses.map { .text($0.hexadecimal) })),
    ])
  }
}
