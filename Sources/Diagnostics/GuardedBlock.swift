// SPDX-License-Identifier: BSD-2-Clause
//
// What is kept of a guarded block, live or freed, until its addresses are used again. Records lie in metadata, apart from what they
// tell of, in chunks that stay where they are; a table with a word for each page of the range leads to them.

import Accounting
import CPlatform
import Pages
import Primitives
import Zones

public struct GuardedBlock: BitwiseCopyable {
  public var address: UInt
  /// As requested.
  public var size: UInt
  /// Of the range: the region, and in it the pages that may be touched.
  public var firstPage: UInt32
  public var pageCount: UInt32
  public var dataPage: UInt32
  public var dataCount: UInt32
  public var state: Int32
  /// The type's number, and its name's hash, by which a later type of this number is told apart.
  public var type: UInt32
  public var typeHash: UInt32
  /// Stacks (Diagnostics/Stacks), 0 where there is none.
  public var allocationStack: UInt32
  public var freeStack: UInt32
  /// How its pages are not like other regions', 0 where they are (Unevenness). Changed by reports at any time.
  var unevenness: Int32
  /// Among those without a block, and among ready regions.
  var next: UInt32
  /// The keg's number of the zone whose item it is, 0 for none; `typeHash` is its name's then.
  public var zone: UInt32

  /// Of a block, which is in no list: how many bytes on each side of it are filled, if there are so many.
  var filled: UInt32 {
    get { next }
    set { next = newValue }
  }

  public static var perChunk: Int { 4096 }
}

enum Unevenness {
  /// A report has made one of its pages accessible, for the program to go on.
  static var patched: Int32 { 1 }
  /// It lies in the lane and has marks, or is mapped anew.
  static var marked: Int32 { 2 }
}

public enum GuardedState {
  /// A record without a block.
  public static var none: Int32 { 0 }
  public static var live: Int32 { 1 }
  /// In the hands of free.
  public static var closing: Int32 { 2 }
  public static var freed: Int32 { 3 }
  /// It could not be closed as others are: its addresses are never used again.
  public static var lost: Int32 { 4 }
  /// A zone's item whose last hooks run.
  public static var finishing: Int32 { 5 }
  /// No block's: a region that is ready.
  public static var ready: Int32 { 6 }

  /// The program may touch it, and nobody else has its addresses.
  public static func isOut(_ state: Int32) -> Bool { state == live || state == finishing }
}

public typealias GuardedBlockPointer = UnsafeMutablePointer<GuardedBlock>

extension UnsafeMutablePointer where Pointee == GuardedBlock {
  var isOut: Bool { GuardedState.isOut(stave_load32(&pointee.state)) }
  public var end: UInt { pointee.address &+ pointee.size }
  var isUneven: Bool { stave_load32(&pointee.unevenness) != 0 }
  var endPage: UInt32 { pointee.firstPage + pointee.pageCount }

  /// The number of the type that asked for it, 0 without one, or if another name has the number by now.
  public var typeNow: UInt32 {
    guard pointee.type != 0, let type = types.type(Int(pointee.type)), type.pointee.name.hash == pointee.typeHash else { return 0 }
    return pointee.type
  }

  /// The type that asked for it, "malloc" without one; or the zone.
  func describeOwner(in report: inout Report) {
    if pointee.zone != 0 {
      report.text("of zone ")
      let keg = stave_kegs()[Int(pointee.zone)]?.assumingMemoryBound(to: Keg.self)
      if let keg, keg.pointee.name.hash == pointee.typeHash { return report.name(keg.pointee.name) }
      return report.text("that is gone")
    }
    report.text("of type ")
    guard pointee.type != 0 else { return report.text("malloc") }
    if typeNow == 0 { report.text("a type that is gone") } else { report.typeName(pointee.type) }
  }
}

extension Report {
  /// The name of the malloc type of a number, "malloc" for 0.
  @inline(never)
  public mutating func typeName(_ number: UInt32) {
    guard number != 0, let type = types.type(Int(number)) else { return text("malloc") }
    // What is out of types that have ended is of one record, without a name.
    if type.pointee.isEnded && type.pointee.name.bytes[0] == 0 { text("a type that is gone") } else { name(type.pointee.name) }
  }
}

extension UnsafeMutablePointer where Pointee == MemGuard {
  var pageCount: UInt32 { UInt32(pointee.bytes / UInt(pageBytes)) }
  var openedPages: UInt32 { UInt32(pointee.opened / UInt(pageBytes)) }
  func address(ofPage page: UInt32) -> UInt { pointee.start + UInt(page) * UInt(pageBytes) }

  @inline(__always)
  func record(_ index: UInt32) -> GuardedBlockPointer {
    pointee.chunks![Int(index) / GuardedBlock.perChunk]! + Int(index) % GuardedBlock.perChunk
  }

  /// The block to whose region an address belongs, the last one if it is freed; nil where there has been none. Three loads, no lock.
  public func block(around address: UInt) -> GuardedBlockPointer? {
    guard let region = region(around: address), stave_load32(&region.pointee.state) != GuardedState.ready else { return nil }
    return region
  }

  /// The same, or a ready region.
  func region(around address: UInt) -> GuardedBlockPointer? {
    guard holds(address), let table = pointee.table else { return nil }
    let page = UInt32((address - pointee.start) / UInt(pageBytes))
    guard page < openedPages || isInLane(page) else { return nil }
    let index = table[Int(page)]
    return index == 0 ? nil : record(index)
  }

  /// The block that begins here and is live.
  public func liveBlock(at address: UInt) -> GuardedBlockPointer? {
    guard let block = block(around: address), block.pointee.address == address, block.pointee.state == GuardedState.live else { return nil }
    return block
  }

  /// Calls `body` with each live block. Takes no lock: some may come and go meanwhile.
  public func forEachLive(_ body: (GuardedBlockPointer) -> Void) {
    guard pointee.bytes != 0 else { return }
    var index: UInt32 = 1
    while index < pointee.recordCount {
      let block = record(index)
      if block.isOut { body(block) }
      index += 1
    }
  }

  /// A record without a block, of even pages; 0 if memory for more is not to be had. Under the lock.
  func takeRecord() -> UInt32 {
    if pointee.freeRecord != 0 {
      let index = pointee.freeRecord
      pointee.freeRecord = record(index).pointee.next
      record(index).pointee.unevenness = 0
      return index
    }
    let index = pointee.recordCount, chunk = Int(index) / GuardedBlock.perChunk
    if pointee.chunks![chunk] == nil {
      let bytes = (GuardedBlock.perChunk * MemoryLayout<GuardedBlock>.stride).roundedUp(to: pageBytes)
      guard let memory = metadataPages.allocate(bytes: bytes) else { return 0 }
      pointee.chunks![chunk] = memory.assumingMemoryBound(to: GuardedBlock.self)
    }
    pointee.recordCount += 1
    return index
  }

  func releaseRecord(_ index: UInt32) {
    record(index).pointee.state = GuardedState.none
    record(index).pointee.next = pointee.freeRecord
    pointee.freeRecord = index
  }
}
