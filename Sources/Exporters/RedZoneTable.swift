// SPDX-License-Identifier: BSD-2-Clause
//
// What `stave check` found, as text and as JSON: one damaged side of a block to a line.

import Diagnostics
import Inspection

public struct RedZoneTable {
  private let reading: RedZoneReading
  private let target: String

  public init(_ reading: RedZoneReading, target: String) {
    self.reading = reading
    self.target = target
  }

  /// With what `stack` says of a stack's number: below a block's lines, a line for each frame.
  public func lines(stack: (UInt32) -> [String]) -> [String] {
    reading.damaged.flatMap { one in
      let frames = stack(one.block.stack)
      return Self.lines(one) + (frames.isEmpty ? [] : ["  allocated by"] + frames.map { "  " + $0 })
    } + [summary]
  }

  private var summary: String {
    func blocks(_ count: Int) -> String { count == 1 ? "1 block" : "\(count) blocks" }
    var parts = ["\(blocks(reading.checked)) checked, \(reading.damaged.count) damaged", "\(reading.plain) without RedZone"]
    if reading.unfinished > 0 { parts.append("\(reading.unfinished) just being made or freed") }
    if reading.unreadable > 0 { parts.append("\(reading.unreadable) could not be read") }
    let text = parts.joined(separator: "; ")
    if reading.wasOn { return text }
    guard reading.isOn else { return text + " (RedZone has never been on: stave set PID redzone=1)" }
    let others = reading.guarded > 0 ? "; \(blocks(reading.guarded)) guarded by pages instead" : ""
    return text + " (RedZone is on, and no block has guard bytes yet\(others))"
  }

  private static func lines(_ one: RedZoneReading.Damaged) -> [String] {
    var lines: [String] = []
    if one.damage.isUnderflow { lines.append(line("underflow", "before", one.damage.before, one.damage.isHeaderLost, one)) }
    if one.damage.isOverflow { lines.append(line("overflow", "behind", one.damage.behind, one.damage.isCopyLost, one)) }
    return lines
  }

  private static func line(
    _ direction: String, _ side: String, _ overwrite: RedZoneOverwrite, _ isMarkLost: Bool, _ one: RedZoneReading.Damaged
  ) -> String {
    var text = direction + ": "
    if overwrite.count > 0 {
      text += "\(overwrite.count) \(overwrite.count == 1 ? "byte" : "bytes") overwritten, \(overwrite.nearest)"
      if overwrite.farthest > overwrite.nearest { text += " to \(overwrite.farthest)" }
      text += overwrite.farthest == 1 ? " byte " : " bytes "
    } else {
      text += "bytes overwritten beyond the guard bytes "
    }
    text += "\(side) the block of \(one.block.size) bytes at \(one.block.address.hexadecimal) (\(one.isLarge ? "a large block" : "zone \(one.zone)"), type \(one.type))"
    if isMarkLost && overwrite.count > 0 { text += ", and bytes beyond the guard bytes as well" }
    return text
  }

  public var json: JSON {
    func side(_ overwrite: RedZoneOverwrite, _ isMarkLost: Bool) -> JSON {
      .object([
        ("overwritten", .number(overwrite.count)), ("nearest", .number(overwrite.nearest)), ("farthest", .number(overwrite.farthest)),
        ("beyond", .number(isMarkLost ? 1 : 0)),
      ])
    }
    return .object([
      ("target", .text(target)), ("checked", .number(reading.checked)), ("without-redzone", .number(reading.plain)),
      ("unfinished", .number(reading.unfinished)), ("unreadable", .number(reading.unreadable)),
      (
        "damaged",
        .list(
          reading.damaged.map { one in
            var members: [(String, JSON)] = [
              ("address", .text(one.block.address.hexadecimal)), ("size", .number(Int(one.block.size))), ("zone", .text(one.zone)),
              ("type", .text(one.type)), ("stack", .number(Int(one.block.stack))),
            ]
            if one.damage.isUnderflow { members.append(("underflow", side(one.damage.before, one.damage.isHeaderLost))) }
            if one.damage.isOverflow { members.append(("overflow", side(one.damage.behind, one.damage.isCopyLost))) }
            return .object(members)
          })
      ),
    ])
  }
}
