// SPDX-License-Identifier: BSD-2-Clause
//
// What leads to what, against a model that follows it step by step: as a graph, and from words in memory on.

import Testing

@testable import Inspection
@testable import TestSupport

@Suite struct ReachabilityTests {
  private struct Link { var to: Int, isInner: Bool }

  private func graph(_ links: [[Link]], roots: [Link]) -> ItemGraph {
    func edge(_ link: Link) -> ItemGraph.Edge { ItemGraph.Edge(link.to) | (link.isInner ? ItemGraph.inner : 0) }
    var first = [0], edges: [ItemGraph.Edge] = []
    for one in links {
      edges += one.map(edge)
      first.append(edges.count)
    }
    return ItemGraph(first: first, edges: edges, roots: roots.map(edge))
  }

  /// All that can be reached from `start` by links that `follows` allows.
  private func closure(_ start: [Int], _ links: [[Link]], _ follows: (Link) -> Bool) -> Set<Int> {
    var seen = Set(start), rest = start
    while let node = rest.popLast() {
      for link in links[node] where follows(link) && seen.insert(link.to).inserted { rest.append(link.to) }
    }
    return seen
  }

  private func expect(_ reach: Reachability, _ links: [[Link]], _ roots: [Link], _ hint: Comment) {
    let whole = closure(roots.filter { !$0.isInner }.map(\.to), links) { !$0.isInner }
    let all = closure(roots.map(\.to), links) { _ in true }
    for node in links.indices {
      let state = whole.contains(node) ? Reachability.State.reached : all.contains(node) ? Reachability.State.inner : Reachability.State.lost
      #expect(reach.states[node] == state, "\(hint), node \(node)")
    }
    let lost = links.indices.filter { !all.contains($0) }
    let reached = Dictionary(uniqueKeysWithValues: lost.map { ($0, closure([$0], links) { _ in true }) })
    for node in lost {
      // Whoever leads to it is led to by it, and none of them comes before it.
      let leading = lost.filter { reached[$0]!.contains(node) }
      let isHead = leading.allSatisfy { reached[node]!.contains($0) && $0 >= node }
      let head = Int(reach.heads[node])
      #expect((head == node) == isHead, "\(hint), node \(node)")
      #expect(lost.contains(head) && reach.heads[head] == UInt32(head) && reached[head]!.contains(node), "\(hint), node \(node)")
    }
  }

  @Test func `what is lost, and by way of what, against a model`() {
    var generator = Generator(41)
    for step in 0..<Stage.steps(1000, soak: 1_000_000) {
      let count = generator.below(generator.below(2) == 0 ? 8 : 40)
      func link() -> Link { Link(to: generator.below(count), isInner: generator.below(3) == 0) }
      let links = (0..<count).map { _ in (0..<generator.below(4)).map { _ in link() } }
      let roots = count == 0 ? [] : (0..<generator.below(4)).map { _ in link() }
      expect(Reachability(graph(links, roots: roots)), links, roots, "step \(step)")
    }
  }

  @Test func `a long chain and a long ring need no deep stack`() {
    let count = 200_000
    let ring = Reachability(ItemGraph(first: Array(0...count), edges: (0..<count).map { UInt32(($0 + 1) % count) }, roots: []))
    #expect(ring.heads.allSatisfy { $0 == 0 } && ring.states.allSatisfy { $0 == Reachability.State.lost })
    // Backwards: each leads to the one before.
    let chain = Reachability(ItemGraph(first: [0] + Array(0..<count), edges: (0..<(count - 1)).map { UInt32($0) }, roots: []))
    #expect(chain.heads.allSatisfy { $0 == UInt32(count - 1) })
    let reached = Reachability(ItemGraph(first: [0] + Array(0..<count), edges: (0..<(count - 1)).map { UInt32($0) }, roots: [UInt32(count - 1)]))
    #expect(reached.states.allSatisfy { $0 == Reachability.State.reached })
  }

  // MARK: - From memory

  /// Memory that is there in some pages only.
  private final class Pages: TargetMemory, @unchecked Sendable {
    var words: [UInt: UInt] = [:]
    var missing: Set<UInt> = []
    var name: String { "pages" }
    var process: Int32 { 0 }
    var executablePath: String? { nil }
    func mappings() -> [Mapping] { [] }
    func file(of module: Module) -> FileBytes? { nil }
    func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
      for index in 0..<buffer.count {
        let place = address + UInt(index)
        if missing.contains(place >> 12) { throw .shortRead(address: address, wanted: buffer.count, got: index) }
        buffer[index] = UInt8(truncatingIfNeeded: words[place & ~7, default: 0] >> ((place & 7) * 8))
      }
    }
  }

  @Test func `words that lead to items are found whatever their tags, places and pages`() throws {
    var generator = Generator(43)
    for step in 0..<Stage.steps(100, soak: 50_000) {
      let memory = Pages()
      // Items close together and far apart, over the ends of pages, of leaves of the index, and at the end of all addresses.
      var items: [LeakItem] = []
      var place: UInt = [1 << 20, 1 << 26 - 3000, 0x7f00_0000_0000][generator.below(3)]
      for _ in 0..<generator.below(30) {
        place += UInt([0, 0, 16, 4096, 1 << 27, 1 << 32][generator.below(6)])
        let bytes = UInt(generator.below(3) == 0 ? 1 + generator.below(9000) : 16 << generator.below(4))
        items.append(LeakItem(start: place, bytes: bytes))
        place += (bytes + 15) & ~15
      }
      if generator.below(4) == 0 { items.append(LeakItem(start: ItemIndex.mask - 64, bytes: 64)) }
      let index = try ItemIndex(items.shuffled(using: &generator))
      #expect(index.items == items && index.contradictions == 0)
      var links = [[Link]](repeating: [], count: items.count)
      func leading(_ link: Link) -> UInt {
        let item = items[link.to], offset = link.isInner ? ItemGraph.innerFrom + UInt(generator.below(Int(item.bytes - ItemGraph.innerFrom))) : UInt(generator.below(Int(min(item.bytes, ItemGraph.innerFrom))))
        return item.start + offset | (generator.below(2) == 0 ? 0 : UInt(generator.below(1 << 17)) << 47)
      }
      func link() -> Link {
        let to = generator.below(items.count)
        return Link(to: to, isInner: items[to].bytes > ItemGraph.innerFrom && generator.below(3) == 0)
      }
      // Words that lead nowhere: numbers, what lies between items, what is just behind one.
      func noise() -> UInt {
        let item = items[generator.below(items.count)]
        let word = [UInt(generator.below(1 << 30)), item.end, item.start &- 1, UInt(truncatingIfNeeded: generator.next())][generator.below(4)]
        return items.contains { $0.start <= word & ItemIndex.mask && word & ItemIndex.mask < $0.end } ? 0 : word
      }
      for (number, item) in items.enumerated() where item.bytes >= 16 {
        for _ in 0..<generator.below(4) {
          let word = (item.start + 7) / 8 * 8 + UInt(generator.below(Int(item.bytes / 8) - 1)) * 8
          guard memory.words[word] == nil else { continue }
          if generator.below(3) == 0 {
            memory.words[word] = noise()
          } else {
            let link = link()
            memory.words[word] = leading(link)
            links[number].append(link)
          }
        }
      }
      var roots: [Link] = []
      let root: UInt = 0x10_0000_0000 + UInt(generator.below(9))
      for slot in 0..<3 where !items.isEmpty && generator.below(2) == 0 {
        let link = link()
        memory.words[(root + 7) / 8 * 8 + UInt(slot * 8)] = leading(link)
        roots.append(link)
      }
      if generator.below(3) == 0, let item = items.indices.randomElement(using: &generator) {
        // A page that is gone: all of its words are.
        let page = items[item].start >> 12
        memory.missing.insert(page)
        for (number, item) in items.enumerated() {
          links[number] = []
          for (word, value) in memory.words where item.start <= word && word + 8 <= item.end && word >> 12 != page {
            let found = index.find(value)
            if found >= 0 { links[number].append(Link(to: found, isInner: index.offset(of: value, in: found) >= ItemGraph.innerFrom)) }
          }
        }
      }
      let scan = LeakScan(memory, index)
      try scan.addRoots(root, root + 40, isPrivate: true)
      try scan.addItems()
      #expect(scan.rootBytes == 40 && (scan.unreadItemBytes > 0) == items.contains { $0.start >> 12 ... ($0.end - 1) >> 12 ~= memory.missing.first ?? 0 })
      expect(Reachability(scan.takeGraph()), links, roots, "step \(step)")
    }
  }

  @Test func `items that contradict others are left out`() throws {
    let good = [LeakItem(start: 4096, bytes: 100), LeakItem(start: 8192, bytes: 1)]
    let bad = [LeakItem(start: 4100, bytes: 8), LeakItem(start: 4096, bytes: 4), LeakItem(start: .max - 5, bytes: 6), LeakItem(start: 9000, bytes: 0), LeakItem(start: 9000, bytes: .max)]
    let index = try ItemIndex([good[0], bad[0], bad[2], good[1], bad[3], bad[4]])
    #expect(index.items == good && index.contradictions == 4)
    #expect(index.find(4096) == 0 && index.find(4195) == 0 && index.find(4196) == -1 && index.find(8192) == 1 && index.find(8193) == -1 && index.find(0) == -1)
    #expect(try ItemIndex([]).find(4096) == -1 && ItemIndex([bad[1]]).find(4097) == 0)
  }
}
