// SPDX-License-Identifier: BSD-2-Clause
//
// Packet tags: what modules note of a packet, by who they are (a cookie) and what it is (an id). They hang on the packet's header
// and go with it. Their memory is of the malloc type mbuf_tag.

import Accounting
import Primitives
import Zones

/// The head of a tag; its bytes are behind it.
public struct PacketTag {
  var next: PacketTagPointer?
  /// What the tag is. One with the bit `persistent` outlives `deleteTransientTags`.
  public var id: UInt16
  /// Bytes behind the head.
  public var length: UInt16
  /// Who knows what it is.
  public var cookie: UInt32
  /// Frees the tag instead of `packets.freeTag`, which it may call.
  public var free: TagFree?

  public static var persistent: UInt16 { 0x800 }
}

public typealias PacketTagPointer = UnsafeMutablePointer<PacketTag>
public typealias TagFree = @convention(c) (_ tag: UnsafeMutableRawPointer) -> Void

extension UnsafeMutablePointer where Pointee == PacketTag {
  public var bytes: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self + 1) }
}

extension UnsafeMutablePointer where Pointee == PacketState {
  /// A tag with `length` bytes that are not set; nil where memory is not to be had.
  public func getTag(id: UInt16, cookie: UInt32, length: Int, _ wait: WaitFlags = .noWait) -> PacketTagPointer? {
    guard length >= 0, length <= SizeClass.largest - MemoryLayout<PacketTag>.stride else { return nil }
    guard let zone = tagZone(MemoryLayout<PacketTag>.stride + length) else { return nil }
    guard !isRefused, let item = zone.allocate(wait) else { return nil }
    let tag = item.assumingMemoryBound(to: PacketTag.self)
    tag.initialize(to: PacketTag(next: nil, id: id, length: UInt16(length), cookie: cookie, free: nil))
    return tag
  }

  /// A tag that says the same of no packet yet, with the same `free`; nil where memory is not to be had.
  public func copyTag(_ tag: PacketTagPointer, _ wait: WaitFlags = .noWait) -> PacketTagPointer? {
    let length = Int(tag.pointee.length)
    guard let copy = getTag(id: tag.pointee.id, cookie: tag.pointee.cookie, length: length, wait) else { return nil }
    copy.pointee.free = tag.pointee.free
    copy.bytes.copyMemory(from: tag.bytes, byteCount: length)
    return copy
  }

  /// Frees a tag that hangs on no packet, whatever its own `free`.
  public func freeTag(_ tag: PacketTagPointer) {
    tagZone(MemoryLayout<PacketTag>.stride + Int(tag.pointee.length))!.free(tag)
  }

  private func tagZone(_ size: Int) -> ZonePointer? {
    if pointee.tagType == nil { pointee.tagType = types.named(FixedName("mbuf_tag")) }
    return pointee.tagType?.zone(SizeClass.index(for: size))
  }
}

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// The first tag of a packet.
  private var firstTag: PacketTagPointer? {
    get { header.pointee.tags?.assumingMemoryBound(to: PacketTag.self) }
    nonmutating set { header.pointee.tags = newValue.map { UnsafeMutableRawPointer($0) } }
  }

  public func prependTag(_ tag: PacketTagPointer) {
    demand(hasHeader, "a tag for an mbuf that has no packet header")
    tag.pointee.next = firstTag
    firstTag = tag
  }

  /// The next tag of that cookie and id behind `tag`, from the first on if that is nil.
  public func findTag(id: UInt16, cookie: UInt32, after tag: PacketTagPointer? = nil) -> PacketTagPointer? {
    var next = tag.map { $0.pointee.next } ?? firstTag
    while let tag = next, tag.pointee.id != id || tag.pointee.cookie != cookie { next = tag.pointee.next }
    return next
  }

  /// Takes a tag of this packet off it, and leaves it to the caller.
  public func unlinkTag(_ tag: PacketTagPointer) {
    if firstTag == tag {
      firstTag = tag.pointee.next
    } else {
      var before = firstTag
      while let candidate = before, candidate.pointee.next != tag { before = candidate.pointee.next }
      before?.pointee.next = tag.pointee.next
    }
    tag.pointee.next = nil
  }

  public func deleteTag(_ tag: PacketTagPointer) {
    unlinkTag(tag)
    if let free = tag.pointee.free { free(tag) } else { packets.freeTag(tag) }
  }

  /// Deletes all tags of a packet.
  @inline(__always)
  public func deleteTags() { if header.pointee.tags != nil { deleteTags(keepingPersistent: false) } }

  /// Deletes the tags that are not to outlive a packet's way out of this host.
  public func deleteTransientTags() { deleteTags(keepingPersistent: true) }

  @inline(never)
  private func deleteTags(keepingPersistent: Bool) {
    var next = firstTag
    while let tag = next {
      next = tag.pointee.next
      if !keepingPersistent || tag.pointee.id & PacketTag.persistent == 0 { deleteTag(tag) }
    }
  }

  /// Copies of another packet's tags, in their order, in place of its own. False where memory is not to be had: then it has none.
  public func copyTags(from other: MbufPointer, _ wait: WaitFlags = .noWait) -> Bool {
    deleteTags()
    var next = other.firstTag, last: PacketTagPointer? = nil
    while let tag = next {
      guard let copy = packets.copyTag(tag, wait) else {
        deleteTags()
        return false
      }
      if let last { last.pointee.next = copy } else { firstTag = copy }
      last = copy
      next = tag.pointee.next
    }
    return true
  }
}
