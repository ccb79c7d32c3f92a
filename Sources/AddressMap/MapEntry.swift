// SPDX-License-Identifier: BSD-2-Clause
//
// One entry of an address map: a range of addresses with equal attributes, which is a tree node and a list element at
// the same time. Plain data in a fixed order, 96 bytes: a reader in another process copies entries and follows their
// pointers, so a change of layout is a change of that reader. The fields a descent touches stand first, in units of 32
// bytes, so that half of the entries (96 bytes apart) show them in one cache line and the others in two.

import Primitives

public typealias EntryPointer = UnsafeMutablePointer<MapEntry>

@frozen public struct MapEntry: RedBlackNode {
  // 0: lookup
  public var start: UInt
  public var end: UInt  // the first address behind the range
  public var left: EntryPointer?
  public var right: EntryPointer?
  // 32: gap search and its way up
  public var gap: UInt  // bytes from `end` to the next entry's start, or to the map's maximum
  public var subtreeGap: UInt  // the largest `gap` among this node and all nodes below it
  public var parent: EntryPointer?
  public var next: EntryPointer?  // nil: this is the last entry
  // 64
  public var previous: EntryPointer?  // nil: this is the first entry
  public var wordA: UInt  // the owner's
  public var wordB: UInt  // the owner's
  public var kind: UInt8  // the owner's
  public var flags: UInt8
  public var owner: UInt16  // a number that the owner gives it; not an attribute
  public var reserved1: UInt32

  // Flags. The low four bits belong to the map, the high four are free for later use and zero.
  @inlinable public static var noMerge: UInt8 { 1 }  // never joined with a neighbour, by either's wish
  @inlinable public static var red: UInt8 { 2 }
  @inlinable public static var fromPages: UInt8 { 4 }  // which supply it returns to: pages, or the bootstrap block
  @inlinable public static var live: UInt8 { 8 }  // handed out; a free entry has it clear

  @inlinable public init() {
    start = 0
    end = 0
    left = nil
    right = nil
    gap = 0
    subtreeGap = 0
    parent = nil
    next = nil
    previous = nil
    wordA = 0
    wordB = 0
    kind = 0
    flags = 0
    owner = 0
    reserved1 = 0
  }

  @inlinable public var length: UInt { end &- start }

  @inlinable public var isRed: Bool {
    get { flags & Self.red != 0 }
    set { flags = newValue ? flags | Self.red : flags & ~Self.red }
  }

  @inlinable public var attributes: EntryAttributes {
    EntryAttributes(kind: kind, noMerge: flags & Self.noMerge != 0, wordA: wordA, wordB: wordB)
  }

  // Not a setter: modifying a computed property of this size in place keeps its state in memory from malloc.
  mutating func set(_ attributes: EntryAttributes) {
    kind = attributes.kind
    flags = attributes.noMerge ? flags | Self.noMerge : flags & ~Self.noMerge
    wordA = attributes.wordA
    wordB = attributes.wordB
  }

  @inlinable public static func refresh(_ node: EntryPointer) -> Bool {
    var largest = node.pointee.gap
    if let left = node.pointee.left, left.pointee.subtreeGap > largest { largest = left.pointee.subtreeGap }
    if let right = node.pointee.right, right.pointee.subtreeGap > largest { largest = right.pointee.subtreeGap }
    if node.pointee.subtreeGap == largest { return false }
    node.pointee.subtreeGap = largest
    return true
  }
}

/// What the owner says about a range. Neighbours that touch are merged when all of it is equal and neither asked not to be.
@frozen public struct EntryAttributes: Equatable, Sendable {
  public var kind: UInt8
  public var noMerge: Bool
  public var wordA: UInt
  public var wordB: UInt

  @inlinable public init(kind: UInt8 = 0, noMerge: Bool = false, wordA: UInt = 0, wordB: UInt = 0) {
    self.kind = kind
    self.noMerge = noMerge
    self.wordA = wordA
    self.wordB = wordB
  }

  @inlinable public func canMerge(with other: EntryAttributes) -> Bool { !noMerge && self == other }
}
