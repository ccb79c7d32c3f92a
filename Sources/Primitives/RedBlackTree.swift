// SPDX-License-Identifier: BSD-2-Clause
//
// A red-black tree whose links live inside the nodes, and in which every node may carry a summary of its subtree (the
// largest gap below it, say). The balancing is written once here; the node's type says, through RedBlackNode, where its
// links are and how its summary follows from its own data and its children's summaries. The calls are resolved at
// compile time. The tree neither allocates nor compares: the owner decides where a node belongs and keeps the order.
//
// Rules: a node is red or black; the root is black; a red node has no red child; every way down from a node to a missing
// child passes the same number of black nodes. So the depth is at most 2 log2(n + 1). Insert and remove make O(1)
// rotations and refresh summaries on one path. Not thread-safe: the owner of the tree holds a lock.

/// What a node must show to be held in a `RedBlackTree`.
public protocol RedBlackNode {
  var left: UnsafeMutablePointer<Self>? { get set }
  var right: UnsafeMutablePointer<Self>? { get set }
  var parent: UnsafeMutablePointer<Self>? { get set }
  var isRed: Bool { get set }

  /// Computes the summary of `node` afresh from its own data and the summaries of its two children; true if it changed.
  /// A node without a summary returns false.
  static func refresh(_ node: UnsafeMutablePointer<Self>) -> Bool
}

/// One of the two children. Each rule of balance has a mirror image; naming the side lets one text serve for both.
@frozen public enum Side {
  case left, right

  @inlinable public var other: Side { self == .left ? .right : .left }
}

@frozen public struct RedBlackTree<Node: RedBlackNode> {
  public typealias Link = UnsafeMutablePointer<Node>

  public var root: Link?

  @inlinable public init() { root = nil }

  // MARK: - Order

  /// The node furthest to one side, or nil in an empty tree. O(log n).
  @inlinable public func outermost(_ side: Side) -> Link? {
    guard let root else { return nil }
    return Self.outermost(side, below: root)
  }

  @inlinable static func outermost(_ side: Side, below top: Link) -> Link {
    var node = top
    while let next = child(node, side) { node = next }
    return node
  }

  /// The node next to `node` in order, on the given side. Amortised O(1) over a walk.
  @inlinable public static func neighbour(of node: Link, on side: Side) -> Link? {
    if let next = child(node, side) { return outermost(side.other, below: next) }
    var node = node
    while let above = node.pointee.parent {
      if child(above, side.other) == node { return above }
      node = above
    }
    return nil
  }

  // MARK: - Change

  /// Hangs `node` below `parent` on a side that is empty (nil parent: the tree is empty), then restores summaries and
  /// balance. The node's own data must be set before. Returns the number of nodes refreshed on the way up. O(log n).
  @inlinable @discardableResult
  public mutating func insert(_ node: Link, below parent: Link?, on side: Side) -> Int {
    node.pointee.left = nil
    node.pointee.right = nil
    node.pointee.parent = parent
    node.pointee.isRed = true
    var steps = 1
    _ = Node.refresh(node)
    if let parent {
      Self.setChild(parent, side, node)
      steps += climb(from: parent)
    } else {
      root = node
    }
    balanceAfterInsert(node)
    return steps
  }

  /// Takes `node` out. Its neighbours in order stay as they are. Returns the number of nodes refreshed. O(log n).
  @inlinable @discardableResult
  public mutating func remove(_ node: Link) -> Int {
    // A node with two children gives its place and colour to its successor, so that what really goes missing is the
    // successor's old place, which has at most one child.
    let orphan: Link?
    let above: Link?
    let side: Side
    let lostRed: Bool
    if let left = node.pointee.left, let right = node.pointee.right {
      let heir = Self.outermost(.left, below: right)
      lostRed = heir.pointee.isRed
      orphan = heir.pointee.right
      if heir == right {
        above = heir
        side = .right
      } else {
        let gone = heir.pointee.parent!
        above = gone
        side = .left
        Self.setChild(gone, .left, orphan)
        orphan?.pointee.parent = gone
        heir.pointee.right = right
        right.pointee.parent = heir
      }
      heir.pointee.left = left
      left.pointee.parent = heir
      heir.pointee.isRed = node.pointee.isRed
      replace(node, by: heir)
    } else {
      lostRed = node.pointee.isRed
      orphan = node.pointee.left ?? node.pointee.right
      above = node.pointee.parent
      if let above { side = Self.side(of: node, below: above) } else { side = .left }
      replace(node, by: orphan)
    }
    node.pointee.left = nil
    node.pointee.right = nil
    node.pointee.parent = nil

    // No early stop here: the heir still carries the summary of its old place, so "unchanged" would prove nothing.
    var steps = 0
    var at = above
    while let node = at {
      _ = Node.refresh(node)
      steps += 1
      at = node.pointee.parent
    }
    if !lostRed { balanceAfterRemove(orphan, below: above, on: side) }
    return steps
  }

  /// Restores the summaries from `node` to the root after a change to the node's own data, and stops where a summary
  /// comes out as it was. Everything else in the tree must be right. Returns the number of nodes refreshed.
  @inlinable @discardableResult
  public func climb(from node: Link) -> Int {
    var steps = 1
    var node = node
    while Node.refresh(node), let above = node.pointee.parent {
      node = above
      steps += 1
    }
    return steps
  }

  // MARK: - Balance

  @inlinable mutating func balanceAfterInsert(_ inserted: Link) {
    var node = inserted
    while let parent = node.pointee.parent, parent.pointee.isRed {
      let grand = parent.pointee.parent!  // a red node is never the root
      let side = Self.side(of: parent, below: grand)
      if let uncle = Self.child(grand, side.other), uncle.pointee.isRed {
        parent.pointee.isRed = false
        uncle.pointee.isRed = false
        grand.pointee.isRed = true
        node = grand
        continue
      }
      var top = parent
      if Self.child(parent, side.other) == node {
        rotate(parent, toward: side)
        top = node
      }
      top.pointee.isRed = false
      grand.pointee.isRed = true
      rotate(grand, toward: side.other)
      break
    }
    root?.pointee.isRed = false
  }

  /// One black node is missing on every way through `orphan`, the child of `above` on `side`.
  @inlinable mutating func balanceAfterRemove(_ orphan: Link?, below above: Link?, on side: Side) {
    var short = orphan
    var above = above
    var side = side
    while let parent = above, !Self.isRed(short) {
      var sibling = Self.child(parent, side.other)!  // the other ways are longer, so there is one
      if sibling.pointee.isRed {
        sibling.pointee.isRed = false
        parent.pointee.isRed = true
        rotate(parent, toward: side)
        sibling = Self.child(parent, side.other)!
      }
      let near = Self.child(sibling, side)
      if !Self.isRed(near), !Self.isRed(Self.child(sibling, side.other)) {
        sibling.pointee.isRed = true
        short = parent
        above = parent.pointee.parent
        if let above { side = Self.side(of: parent, below: above) }
        continue
      }
      if !Self.isRed(Self.child(sibling, side.other)), let near {
        near.pointee.isRed = false
        sibling.pointee.isRed = true
        rotate(sibling, toward: side.other)
        sibling = near
      }
      sibling.pointee.isRed = parent.pointee.isRed
      parent.pointee.isRed = false
      Self.child(sibling, side.other)?.pointee.isRed = false
      rotate(parent, toward: side)
      return
    }
    short?.pointee.isRed = false
  }

  /// Moves `node` down to `side`; its other child takes its place. The summary of the whole is what it was, so nothing
  /// above needs a refresh.
  @inlinable mutating func rotate(_ node: Link, toward side: Side) {
    let riser = Self.child(node, side.other)!
    let inner = Self.child(riser, side)
    replace(node, by: riser)
    Self.setChild(node, side.other, inner)
    inner?.pointee.parent = node
    Self.setChild(riser, side, node)
    node.pointee.parent = riser
    _ = Node.refresh(node)
    _ = Node.refresh(riser)
  }

  // MARK: - Links

  /// Lets the parent of `node` (or the root) point at `other` instead, and `other` at that parent.
  @inlinable mutating func replace(_ node: Link, by other: Link?) {
    let above = node.pointee.parent
    if let above {
      Self.setChild(above, Self.side(of: node, below: above), other)
    } else {
      root = other
    }
    other?.pointee.parent = above
  }

  @inlinable static func child(_ node: Link, _ side: Side) -> Link? {
    side == .left ? node.pointee.left : node.pointee.right
  }

  @inlinable static func setChild(_ node: Link, _ side: Side, _ child: Link?) {
    if side == .left { node.pointee.left = child } else { node.pointee.right = child }
  }

  @inlinable static func side(of node: Link, below parent: Link) -> Side {
    parent.pointee.left == node ? .left : .right
  }

  @inlinable static func isRed(_ node: Link?) -> Bool {
    guard let node else { return false }
    return node.pointee.isRed
  }

  // MARK: - Invariants

  /// The first rule that the tree breaks, or nil. Visits at most `count` nodes, so that a cycle is reported and not
  /// followed for ever. Summaries are left alone by a check that passes: a refresh that changes one is the violation.
  /// O(n log n).
  public func invariantViolation(count: Int) -> StaticString? {
    guard let root else { return count == 0 ? nil : "tree: empty, but nodes are expected" }
    if root.pointee.parent != nil { return "tree: the root has a parent" }
    if root.pointee.isRed { return "tree: the root is red" }
    var blackDepth = -1
    var seen = 0
    var at: Link? = outermost(.left)
    while let node = at {
      seen += 1
      if seen > count { return "tree: more nodes than expected, or a cycle" }
      let left = node.pointee.left
      let right = node.pointee.right
      if let left, left.pointee.parent != node { return "tree: a left child does not point back at its parent" }
      if let right, right.pointee.parent != node { return "tree: a right child does not point back at its parent" }
      if node.pointee.isRed, Self.isRed(left) || Self.isRed(right) { return "tree: a red node has a red child" }
      if left == nil || right == nil {
        var depth = 0
        var above: Link? = node
        while let step = above {
          if !step.pointee.isRed { depth += 1 }
          above = step.pointee.parent
        }
        if blackDepth < 0 { blackDepth = depth }
        if depth != blackDepth { return "tree: two ways down pass different numbers of black nodes" }
      }
      if Node.refresh(node) { return "tree: a summary did not follow from the node and its children" }
      at = Self.neighbour(of: node, on: .right)
    }
    return seen == count ? nil : "tree: fewer nodes than expected"
  }
}
