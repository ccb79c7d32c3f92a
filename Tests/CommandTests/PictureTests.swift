// SPDX-License-Identifier: BSD-2-Clause
//
// What is drawn: the picture of `stave top` at every width, bars, figures, the table of a comparison.

import Exporters
@testable import Inspection
import Testing

@testable import StaveCommand

private func snapshot(_ used: Int) -> Snapshot {
  var snapshot = Snapshot()
  snapshot.target = "process 1 (program)"
  snapshot.process = 1
  snapshot.taken = Int64(used) * 1_000_000_000
  for (index, size) in [16, 1024, 32768].enumerated() {
    var zone = ZoneSnapshot()
    zone.name = "malloc-\(size)"
    zone.size = size
    zone.itemBytes = size
    zone.slabBytes = 64 << 10
    zone.itemsPerSlab = zone.slabBytes / size
    zone.slabs = index + 1
    zone.walkedSlabs = index + 1
    zone.allocations = Int64(used * 100)
    zone.frees = zone.allocations - 1
    zone.walkedFreeItems = zone.slabs * zone.itemsPerSlab - 1
    snapshot.zones.append(zone)
    snapshot.slabBytes += zone.totalBytes
  }
  snapshot.largeBlocks = 2
  snapshot.largeBytes = 100 << 10
  snapshot.arenaBytes = snapshot.slabBytes + snapshot.largeBytes + 8192
  return snapshot
}

/// What is left on the screen of a line.
func plain(_ line: String) -> String {
  var result = ""
  var isEscape = false
  for character in line {
    if character == "\u{1b}" { isEscape = true } else if !isEscape { result.append(character) } else if character.isLetter { isEscape = false }
  }
  return result
}

@Suite struct PictureTests {
  static let styles = [
    Style(isTerminal: false, isColoured: false, hasBlocks: true), Style(isTerminal: true, isColoured: false, hasBlocks: false),
    Style(isTerminal: true, isColoured: true, hasBlocks: true),
  ]

  @Test func `the screen is filled to the line, at any size`() {
    for style in PictureTests.styles {
      var view = TopView(style: style)
      view.add(snapshot(1), nil)
      view.add(snapshot(2), nil)
      for rows in 1...40 {
        for columns in [1, 7, 20, 40, 64, 80, 100, 200] {
          let lines = view.lines(size: (rows, columns))
          #expect(lines.count == rows)
        }
      }
      for columns in [40, 64, 80, 100, 120] {
        // Nothing of the table is cut off.
        let table = view.lines(columns: columns, zones: 10).drop { !plain($0).hasPrefix("ZONE") }
        #expect(table.count == 5)
        #expect(table.allSatisfy { plain($0).count <= columns }, "\(columns): \(table.map(plain))")
        #expect(table.dropFirst().first.map(plain)?.contains("malloc-32768") == true)
      }
    }
  }

  @Test func `only a terminal gets escape sequences, only colours get colours`() {
    for style in PictureTests.styles {
      var view = TopView(style: style)
      view.add(snapshot(1), nil)
      let text = view.lines(columns: 80, zones: 10).joined()
      #expect(text.contains("\u{1b}") == style.isTerminal)
      #expect(text.contains("\u{1b}[32m") == style.isColoured)
    }
  }

  @Test func `one key switches to the malloc types and back, at any width`() {
    func withTypes(_ used: Int) -> Snapshot {
      var result = snapshot(used)
      result.types = [("malloc", 10), ("libpython3.11.so.1.0", 30_000_000), ("images", 5000), ("a type with a very long name ind", 20), ("unused", 0)].map { name, bytes in
        var type = TypeSnapshot()
        (type.name, type.used, type.usedBytes, type.allocations) = (name, bytes / 10, bytes, Int64(bytes * used))
        type.classes = [16, 32].map { TypeClass(size: $0, allocations: 1, used: 0) }
        return type
      }
      return result
    }
    for style in PictureTests.styles {
      for columns in [40, 64, 80, 100, 200] {
        var view = TopView(style: style)
        view.add(withTypes(1), nil)
        view.add(withTypes(2), nil)
        func table() -> [String] { Array(view.lines(columns: columns, zones: 10).map(plain).drop { !$0.hasPrefix("TYPE") }) }
        #expect(table().isEmpty)
        _ = view.take(.letter(UInt8(ascii: "t")))
        #expect(table().count == 5 && table().dropFirst().map { $0.prefix(6) } == ["libpyt", "images", "a type", "malloc"], "\(table())")
        #expect(table().allSatisfy { $0.count <= columns } && table()[1].contains("28.6M"), "\(table())")
        if style.hasBlocks && style.isTerminal { #expect(table().first?.contains("▾MEMORY") == true) }
        _ = view.take(.letter(UInt8(ascii: "n")))
        #expect(table().dropFirst().map { $0.prefix(6) } == ["a type", "images", "libpyt", "malloc"])
        // An order that types do not have is that of their memory.
        _ = view.take(.letter(UInt8(ascii: "f")))
        #expect(table().dropFirst().first?.hasPrefix("libpyt") == true)
        let keys = plain(view.lines(size: (20, columns)).last!)
        #expect(keys.contains("t zones") && (columns < 80 || keys.count <= columns), "\(keys)")
        _ = view.take(.letter(UInt8(ascii: "w")))
        #expect(plain(view.lines(columns: 200, zones: 10).first { plain($0).hasPrefix("Type ") } ?? "").contains("Size(s)"))
        for _ in 0..<20 { _ = view.take(.down) }
        #expect(view.lines(size: (20, columns)).count == 20)
        _ = view.take(.letter(UInt8(ascii: "t")))
        #expect(view.lines(columns: columns, zones: 10).map(plain).contains { $0.hasPrefix("ITEM") } && plain(view.lines(size: (20, columns)).last!).contains("t types"))
      }
    }
  }

  @Test func `keys`() {
    var view = TopView(style: PictureTests.styles[1])
    view.add(snapshot(1), nil)
    func press(_ key: Terminal.Key) -> Bool { view.take(key) }
    for (key, order) in [("u", ZoneOrder.used), ("f", .free), ("r", .rate), ("c", .requests), ("n", .name), ("s", .size), ("m", .memory)] {
      #expect(press(.letter(key.utf8.first!)))
      #expect(view.table.order == order)
    }
    #expect(press(.letter(32)) && view.isPaused)
    #expect(press(.letter(0)) && press(.letter(255)))
    for _ in 0..<100 { #expect(press(.down)) }
    #expect(view.lines(size: (10, 80)).count == 10)
    for _ in 0..<100 { #expect(press(.pageUp)) }
    #expect(!press(.letter(UInt8(ascii: "q"))) && !press(.letter(3)) && !press(.end))
  }

  @Test func `bars fill their width, and nothing that is there vanishes`() {
    for sizes in [[1, 1_000_000, 1], [0, 0, 5], [3, 3, 3], [1, 2, 4, 8, 16, 32]] {
      for width in sizes.count...100 {
        let cells = Style.cells(sizes, width: width)
        #expect(cells.reduce(0, +) == width)
        #expect(zip(sizes, cells).allSatisfy { ($0 == 0) == ($1 == 0) })
      }
    }
    #expect(Style.cells([0, 0], width: 9) == [0, 0])
    for style in PictureTests.styles {
      for share in [-1, 0, 0.01, 0.5, 0.999, 1, 2] {
        for width in 1...20 { #expect(plain(style.bar(.used, .free, share: share, width: width)).count == width) }
      }
    }
  }

  @Test func `figures`() {
    #expect([0, 9999, 10_000, 12_345, 99_960, 999_500, 1_234_567].map(\.humanCount) == ["0", "9999", "10.0k", "12.3k", "100k", "1.0M", "1.2M"])
    #expect([0.004, 0.006, 3.4, -1.25, 12].map { $0.fixed(2) } == ["0.00", "0.01", "3.40", "-1.25", "12.00"])
    #expect(Double.nan.fixed(2) == "–" && 2.5.fixed(0) == "3")
    #expect(Spread([3, 1, 2]).least == 1 && Spread([3, 1, 2]).median == 2 && Spread([4, 1]).median == 2.5)
    #expect(Style.clip("a\u{1b}[1mbcd\u{1b}[0m", 2) == "a\u{1b}[1mb\u{1b}[0m")
  }
}
