// SPDX-License-Identifier: BSD-2-Clause
//
// Call frame information: rules against readelf's for every row of real modules, and bytes that are no such information.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

@Suite(.enabled(if: Module.isAvailable)) struct CallFramesTests {
  /// A row as readelf shows it: from this address (as in the file) up to the next row's, this rule.
  private struct Row {
    var first: UInt
    var end: UInt
    var rule: FrameRule
  }

  private func rows(of path: String) throws -> [Row]? {
    guard let readelf = find("readelf") else {
      announceSkip("rules compared with readelf's: it is not installed")
      return nil
    }
    let text = try output(of: readelf, ["--debug-dump=frames-interp", "-wN", "--wide", path])
    var rows: [Row] = []
    var columns: [Substring] = []
    var end: UInt = 0
    var isInEntry = false
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
      // A register's name follows its number.
      let words = line.split(separator: " ").filter { !$0.hasPrefix("(") }
      if let bounds = words.first(where: { $0.hasPrefix("pc=") }) {
        // "… FDE cie=… pc=first..end"
        end = UInt(bounds.split(separator: ".").last ?? "", radix: 16) ?? 0
        isInEntry = true
      } else if words.contains("CIE") {
        isInEntry = false
      } else if words.first == "LOC" {
        columns = words
      } else if isInEntry, words.count == columns.count, words[0].utf8.count == 16, let first = UInt(words[0], radix: 16) {
        if !rows.isEmpty, rows[rows.count - 1].end == end, rows[rows.count - 1].first <= first { rows[rows.count - 1].end = first }
        rows.append(Row(first: first, end: end, rule: rule(Dictionary(uniqueKeysWithValues: zip(columns, words)))))
      }
    }
    return rows
  }

  private func rule(_ columns: [Substring: Substring]) -> FrameRule {
    let cfa = columns["CFA"]!
    guard columns["ra"] == "c-8", let offset = Int(cfa.dropFirst(4)), cfa.hasPrefix("rsp+") || cfa.hasPrefix("rbp+") else { return .none }
    let bp = columns["rbp"] ?? "u"
    if bp == "u" || bp == "s" { return FrameRule(cfa.hasPrefix("rsp") ? .sp : .bp, offset: offset, saved: 0) }
    guard bp.hasPrefix("c-"), let saved = Int(bp.dropFirst(2)) else { return .none }
    return FrameRule(cfa.hasPrefix("rsp") ? .sp : .bp, offset: offset, saved: saved)
  }

  @Test(arguments: ["ftw", "_ZNSt9exceptionD1Ev", "swift_retain", "__tls_get_addr", "dispatch_main"])
  func `every row of a module gives the rule that readelf reads there`(symbol: String) throws {
    guard let place = dlsym(nil, symbol) else { return announceSkip("no module has \(symbol)") }
    let module = try #require(Module(at: UInt(bitPattern: place)))
    let path = String(cString: module.name!)
    guard let rows = try rows(of: path) else { return }
    let segment = try #require(module.frameSegment)
    let frames = CallFrames(segment: segment, header: module.frameHeader)
    var rules = 0, wrong = 0
    for row in rows where row.end > row.first {
      for address in [row.first, row.end - 1] {
        let found = frames.rule(at: module.bias + address)
        if !found.isNone { rules += 1 }
        guard found != row.rule else { continue }
        wrong += 1
        if wrong < 10 { Issue.record("\(path) \(String(address, radix: 16)): \(found), not \(row.rule)") }
      }
    }
    #expect(wrong == 0)
    #expect(rules > rows.count, "two addresses of nearly every row: \(rules) of \(rows.count) rows")
  }


  @Test func `every address of libc's has a rule or none`() throws {
    let libc = try module(of: "ftw")
    let frames = CallFrames(segment: try #require(libc.frameSegment), header: libc.frameHeader)
    var known = 0
    // Every address in a soak.
    let stride = max(1, 17 - Stage.scale)
    var address = libc.start
    while address < libc.end {
      if !frames.rule(at: address).isNone { known += 1 }
      address += UInt(stride)
    }
    #expect(known > 1_000_000 / stride, "\(known)")
    for address: UInt in [0, 1, libc.start - 1, libc.end, libc.end + 1, 1 << 47, 1 << 63, .max] { #expect(frames.rule(at: address).isNone) }
  }

  /// A copy of a module's information, which ends at a page that nobody may read, or begins there.
  private func withCopy(of module: Module, atEnd: Bool, _ body: (_ segment: AddressRange, _ header: UInt, _ moved: UInt) throws -> Void) throws {
    let segment = try #require(module.frameSegment)
    // What comes before the header is not part of it.
    let size = segment.end - module.frameHeader
    let fence = Fenced(Int(size))
    let start = atEnd ? fence.end - size : fence.start
    copy(module.frameHeader, to: start, size)
    try body(AddressRange(start: start, end: start + size), start, start &- module.frameHeader)
    withExtendedLifetime(fence) {}
  }

  private func byte(_ address: UInt) -> UnsafeMutablePointer<UInt8> { UnsafeMutablePointer(bitPattern: address)! }
  private func offset(_ address: UInt) -> UInt { UInt(bitPattern: Int(UnsafeRawPointer(bitPattern: address)!.loadUnaligned(as: Int32.self))) }

  @Test(arguments: [true, false])
  func `any bytes give a rule or none, and nothing else is read`(atEnd: Bool) throws {
    var generator = Generator(atEnd ? 51 : 52)
    for symbol in ["ftw", "__tls_get_addr"] {
      let module = try module(of: symbol)
      try withCopy(of: module, atEnd: atEnd) { segment, header, moved in
        let count = Int(UnsafeRawPointer(bitPattern: header + 8)!.loadUnaligned(as: UInt32.self))
        let plain = CallFrames(segment: segment, header: header)
        var changed = 0, none = 0
        for _ in 0..<Stage.steps(10_000, soak: 1_000_000) {
          // One entry, its description, its place in the table, and an address in it.
          let pair = header + 12 + UInt(generator.below(count)) * 8
          let first = header &+ offset(pair), entry = header &+ offset(pair + 4)
          let length = UInt(UnsafeRawPointer(bitPattern: entry)!.loadUnaligned(as: UInt32.self))
          let description = entry &+ 4 &- UInt(UnsafeRawPointer(bitPattern: entry + 4)!.loadUnaligned(as: UInt32.self))
          let size = UInt(UnsafeRawPointer(bitPattern: entry + 12)!.loadUnaligned(as: UInt32.self))
          let target = first &+ UInt(generator.below(Int(max(1, size))))
          let before = plain.rule(at: target)
          #expect(before == module.rule(at: target &- moved))

          var undo: [(UInt, UInt8)] = []
          for _ in 0..<1 + generator.below(3) {
            let place =
              switch generator.below(8) {
              case 0: header + UInt(generator.below(12))
              case 1: pair + UInt(generator.below(8))
              case 2, 3: description + UInt(generator.below(28))
              case 4: segment.start + UInt(generator.below(Int(segment.end - segment.start)))
              default: entry + UInt(generator.below(Int(length) + 4))
              }
            undo.append((place, byte(place).pointee))
            byte(place).pointee =
              switch generator.below(4) {
              case 0: byte(place).pointee ^ 1 << UInt8(generator.below(8))
              case 1: [0, 0x7f, 0x80, 0xff, 0x0a, 0x0b, 0x0f, 0x1b, 0x40][generator.below(9)]
              default: UInt8(truncatingIfNeeded: generator.next() as UInt)
              }
          }
          // Sometimes the information ends early, too.
          let end = generator.below(4) == 0 ? segment.start + UInt(generator.below(Int(segment.end - segment.start))) : segment.end
          let broken = CallFrames(segment: AddressRange(start: segment.start, end: end), header: header)
          for address in [target, generator.next() as UInt] {
            let rule = broken.rule(at: address)
            #expect(rule.isNone || rule.offset >= 8 && rule.offset < 8 << 14 && rule.saved < 512)
          }
          let after = plain.rule(at: target)
          if after != before { changed += 1 }
          if after.isNone { none += 1 }
          for (place, value) in undo.reversed() { byte(place).pointee = value }
        }
        #expect(changed > 500 && none > 500, "the changes matter: \(changed) other rules, \(none) times none")
      }
    }
  }

  @Test func `information that ends early is not read beyond, wherever it ends`() throws {
    let module = try module(of: "__tls_get_addr")
    let segment = try #require(module.frameSegment)
    let whole = CallFrames(segment: segment, header: module.frameHeader)
    let target = UInt(bitPattern: dlsym(nil, "__tls_get_addr")) + 4
    let rule = whole.rule(at: target)
    #expect(!rule.isNone)
    let size = segment.end - module.frameHeader
    let fence = Fenced(Int(size))
    var kept = 0
    // From nothing up to all, each copied against the fence.
    for bytes in stride(from: 0, through: size, by: Stage.scale > 1 ? 1 : 7) {
      let start = fence.end - bytes
      copy(module.frameHeader, to: start, bytes)
      let found = CallFrames(segment: AddressRange(start: start, end: fence.end), header: start).rule(at: target &+ start &- module.frameHeader)
      if found == rule { kept += 1 } else if !found.isNone { Issue.record("\(bytes) bytes give another rule") }
    }
    #expect(kept > 0)
    withExtendedLifetime(fence) {}
  }

  @Test func `a file whose header is damaged gives its segment or none, and nothing else is read`() throws {
    var generator = Generator(53)
    let real = try module(of: "ftw")
    let fence = Fenced(4096)
    let start = fence.start
    let moved = start &- real.start
    var found = 0
    for _ in 0..<Stage.steps(10_000, soak: 1_000_000) {
      copy(real.start, to: start, 4096)
      for _ in 0..<generator.below(4) { byte(start + UInt(generator.below(800))).pointee = UInt8(truncatingIfNeeded: generator.next() as UInt) }
      // The copy says that it is as long as libc; only its first page is there.
      let copy = Module(
        linkMap: nil, name: nil, start: start, end: real.end &+ moved, bias: real.bias &+ moved, frameHeader: real.frameHeader &+ moved)
      guard let segment = copy.frameSegment else { continue }
      found += 1
      #expect(segment.start >= copy.start && segment.end <= copy.end && segment.holds(copy.frameHeader, 1))
    }
    #expect(found > 1000)
    withExtendedLifetime(fence) {}
  }
}
