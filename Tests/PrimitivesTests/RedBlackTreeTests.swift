// SPDX-License-Identifier: BSD-2-Clause
//
// The red-black tree alone, with a node whose summary is the largest weight below it, against a sorted array.

import Testing

@testable import Primitives
@testable import TestSupport

private struct Node: RedBlackNode {
  var left: UnsafeMutablePointer<Node>?
  var right: UnsafeMutablePointer<Node>?
  var parent: UnsafeMutablePointer<Node>?
  var isRed = false
  var key: Int
  var weight: Int
  var largest = 0

  static func refresh(_ node: UnsafeMutablePointer<Node>) -> Bool {
    var largest = node.pointee.weight
    if let left = node.pointee.left { largest = max(largest, left.pointee.largest) }
    if let right = node.pointee.right { largest = max(largest, right.pointee.largest) }
    defer { node.pointee.largest = largest }
    return node.pointee.largest != largest
  }
}

private typealias Link = UnsafeMutablePointer<Node>

private func makeNode(_ key: Int, weight: Int = 0) -> Link {
  let node = Link.allocate(capacity: 1)
  node.initialize(to: Node(key: key, weight: weight))
  return node
}

private typealias TestNode = Node

extension RedBlackTree where Node == TestNode {
  fileprivate mutating func add(_ node: Link) -> Int {
    var parent: Link?
    var side = Side.left
    var at = root
    while let here = at {
      parent = here
      side = node.pointee.key < here.pointee.key ? .left : .right
      at = side == .left ? here.pointee.left : here.pointee.right
    }
    return insert(node, below: parent, on: side)
  }

  fileprivate var keys: [Int] {
    var keys: [Int] = []
    var at = outermost(.left)
    while let node = at {
      keys.append(node.pointee.key)
      at = Self.neighbour(of: node, on: .right)
    }
    return keys
  }

  fileprivate var depth: Int {
    func below(_ node: Link?) -> Int { node.map { 1 + max(below($0.pointee.left), below($0.pointee.right)) } ?? 0 }
    return below(root)
  }
}

/// Where `key` goes in a sorted array.
private func place(of key: Int, in nodes: [Link]) -> Int {
  var low = 0
  var high = nodes.count
  while low < high {
    let middle = (low + high) / 2
    if nodes[middle].pointee.key > key { high = middle } else { low = middle + 1 }
  }
  return low
}

@Suite struct RedBlackTreeTests {
  @Test func emptyAndSingle() {
    var tree = RedBlackTree<Node>()
    #expect(tree.outermost(.left) == nil)
    #expect(tree.invariantViolation(count: 0) == nil)
    let node = makeNode(1, weight: 7)
    defer { node.deallocate() }
    _ = tree.add(node)
    #expect(tree.outermost(.left) == node && tree.outermost(.right) == node)
    #expect(tree.invariantViolation(count: 1) == nil)
    #expect(node.pointee.largest == 7)
    _ = tree.remove(node)
    #expect(tree.root == nil)
    #expect(tree.invariantViolation(count: 1) != nil)
  }

  /// Every order of removal from every tree that up to seven ascending, descending or zigzag inserts build.
  @Test func allRemovalOrdersOfSmallTrees() {
    func permutations(_ items: [Int]) -> [[Int]] {
      if items.count < 2 { return [items] }
      return items.indices.flatMap { index in
        var rest = items
        let item = rest.remove(at: index)
        return permutations(rest).map { [item] + $0 }
      }
    }
    var bad = 0
    for count in 1...6 {
      let orders = permutations(Array(0..<count))
      for (index, inserts) in orders.enumerated() where count < 6 || index % 24 == 0 {
        for removals in orders {
          var tree = RedBlackTree<Node>()
          let nodes = (0..<count).map { makeNode($0, weight: ($0 * 5) % 7) }
          defer { nodes.forEach { $0.deallocate() } }
          for (done, key) in inserts.enumerated() {
            _ = tree.add(nodes[key])
            if tree.invariantViolation(count: done + 1) != nil { bad += 1 }
          }
          for (done, key) in removals.enumerated() {
            _ = tree.remove(nodes[key])
            if tree.invariantViolation(count: count - done - 1) != nil { bad += 1 }
          }
        }
      }
    }
    #expect(bad == 0)
  }

  @Test func randomChangesAgainstASortedArray() {
    var random = Generator(10)
    var tree = RedBlackTree<Node>()
    var nodes: [Link] = []
    for step in 0..<Stage.steps(4000) {
      let growing = (step / 500) % 2 == 0
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<(growing ? 6 : 2):
        let node = makeNode(Int.random(in: 0..<1 << 40, using: &random), weight: Int.random(in: 0..<100, using: &random))
        _ = tree.add(node)
        nodes.insert(node, at: place(of: node.pointee.key, in: nodes))
      case 8...:
        guard let node = nodes.randomElement(using: &random) else { continue }
        node.pointee.weight = Int.random(in: 0..<100, using: &random)
        _ = tree.climb(from: node)
      default:
        guard !nodes.isEmpty else { continue }
        let node = nodes.remove(at: Int.random(in: 0..<nodes.count, using: &random))
        _ = tree.remove(node)
        node.deallocate()
      }
      guard Stage.checks(step) else { continue }
      if let message = tree.invariantViolation(count: nodes.count) {
        Issue.record("step \(step), STAVE_SEED=\(Stage.seed): \(message)")
        return
      }
      if step % 16 == 0, tree.keys != nodes.map(\.pointee.key) || tree.outermost(.right) != nodes.last {
        Issue.record("step \(step), STAVE_SEED=\(Stage.seed): order differs from the array")
        return
      }
    }
    nodes.forEach { $0.deallocate() }
  }

  /// Depth and steps grow with the logarithm, also for the worst order of inserts.
  @Test func depthAndStepsAreLogarithmic() {
    var tree = RedBlackTree<Node>()
    let count = 1 << 15
    let nodes = (0..<count).map { makeNode($0, weight: $0) }
    defer { nodes.forEach { $0.deallocate() } }
    var most = 0
    for node in nodes { most = max(most, tree.add(node)) }
    #expect(tree.depth <= 2 * 16)
    #expect(most <= 2 * 16)
    #expect(tree.invariantViolation(count: count) == nil)
    most = 0
    for node in nodes { most = max(most, tree.remove(node)) }
    #expect(most <= 2 * 16)
  }

  @Test func checkerSeesDamage() {
    func damaged(_ damage: ([Link]) -> Void) -> Bool {
      var tree = RedBlackTree<Node>()
      let nodes = (0..<20).map { makeNode($0, weight: $0) }
      defer { nodes.forEach { $0.deallocate() } }
      for node in nodes { _ = tree.add(node) }
      damage(nodes)
      return tree.invariantViolation(count: 20) != nil
    }
    #expect(!damaged { _ in })
    #expect(damaged { $0.first { $0.pointee.isRed }!.pointee.isRed = false })
    #expect(damaged { $0.first { !$0.pointee.isRed && $0.pointee.parent != nil }!.pointee.isRed = true })
    #expect(damaged { $0[19].pointee.parent = $0[0] })
    #expect(damaged { $0[3].pointee.weight = 50 })
  }
}
