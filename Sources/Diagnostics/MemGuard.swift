// SPDX-License-Identifier: BSD-2-Clause
//
// # MemGuard
//
// Guarded blocks: each on pages of its own, with pages that cannot be touched on both sides, and no pages at all once it is free. So a
// write or read beyond a block, and any touch of one that was freed, is a fault at that very instruction.
//
//   range    | … | guard | block's pages | guard | guard | freed: no pages | guard | …  cursor →  … | never used |
//                  └─────── one region ──────┘
//
// Words
//   range    addresses reserved for guarded blocks alone, apart from the arena: who frees, asks or faults is known by it
//   region   the pages of one block with the guards on both sides; it belongs to the block until its addresses are used again
//   record   what is kept of a block, apart from its pages (GuardedBlock); found from any address of the region by one look
//   cursor   addresses are taken from here on and up, so that they come back as late as can be (L43); at the end it wraps
//   opened   how much of the range has been used. It grows while less than `keptBytes` is open, or a quarter of it is in use
//   lot      a CPU's count of requests until the next that is guarded
//   ready    a region without a block whose page can be touched: the next block of as many is there without a system call
//   lane     the range's last part, where ready regions come from: there a missing page is a guard (MemGuard+Lane)
//
// How pages are closed. Linux 6.13 has guards that are marks in the page tables (MADV_GUARD_INSTALL): the opened range is one mapping,
// all of it marked but for the pages of live blocks, and the process has four lines in its map however many blocks there are. Elsewhere
// each live block is a mapping of its own, two lines, up to half of what the system allows (vm.max_map_count). Beyond that, beyond
// the memory that guards may take (a tenth of the machine's), and wherever the system refuses, a request is declined and counted;
// then it is an ordinary one. Nothing fails for want of a guard, unless the program itself limits its address space.
//
// Lock: `lock` (rank guards) over the search for addresses and the records; system calls on a block are made without it. A free takes
// no lock: the record's state goes from live to closing to freed, and who does not win the first step frees a block twice. For the next
// block's page it takes the lock if that is to be had at once.
//
// Cost of a guarded block of one page or two, none all its own: a system call to move them to the next one's region, some 2 µs with
// both stacks and a look at the handlers of two signals (Documentation/Decisions.md), and up to 18 in a program whose caches are full
// of other things; where pages cannot be moved, or it has more, one to open its pages, a fault at the first touch of each, and one to
// close them, 7 µs. Of metadata 64 bytes for each region and 12 for each of its pages, marks included, until its addresses are used
// again: 9 MB for 1 GiB of addresses.

import Accounting
import CPlatform
import Pages
import Primitives
import Zones

/// How a block lies in its pages.
public enum GuardSide {
  /// Its end, rounded up to 16, is the end of its pages: what goes beyond faults.
  public static var overflow: UInt8 { 0 }
  /// Its start is the start of its pages.
  public static var underflow: UInt8 { 1 }
  /// Its last byte is the last of its pages. Blocks are then aligned only as their size is.
  public static var exact: UInt8 { 2 }
}

/// What of it lies in the root.
public struct MemGuard: ~Copyable {
  // What readers outside copy.
  /// One of so many requests that are meant is guarded; 0: off.
  public var interval: Int64
  /// The range; 0 until MemGuard is first switched on. And how much of it has been used.
  public var start: UInt
  public var bytes: UInt
  public var opened: UInt
  /// Bytes that blocks may take, in whole pages.
  public var limit: UInt
  /// Blocks that have been guarded, and that have been freed.
  public var guarded: Int64
  public var freed: Int64
  /// Bytes of live blocks: of their pages, of those and the guards, and what of the pages is not the block's.
  public var usedBytes: Int64
  public var mappedBytes: Int64
  public var wastedBytes: Int64
  /// Requests that the lot fell on; and of those, or of blocks that were to stay guarded, that were declined: for want of addresses,
  /// because blocks take as much as they may, because the system refused.
  public var hits: Int64
  public var withoutAddresses: Int64
  public var withoutPages: Int64
  public var refused: Int64
  public var wraps: Int64
  public var reports: Int64
  /// Of all CPUs; with them requests that were too small.
  public var lots: UnsafeMutablePointer<stave_lot>?

  // Ours.
  var least: UInt
  var most: UInt
  var table: UnsafeMutablePointer<UInt32>?
  var chunks: UnsafeMutablePointer<UnsafeMutablePointer<GuardedBlock>?>?
  /// A page of the range.
  var cursor: UInt32
  /// Records without a block, linked; and how many records there are, the one that is never used included.
  var freeRecord: UInt32
  var recordCount: UInt32
  /// Pages of a guard.
  var width: UInt32
  var side: UInt8
  /// Whether blocks of a page and more are guarded whatever the lot.
  var takesPages: Bool
  /// Whether zones that keep their memory's type are guarded too.
  var takesNoFree: Bool
  var usesMarks: Bool
  var lock: FutexLock
  /// Bytes of the range that are used before any of it is used again (`keptBytes`).
  var kept: UInt
  /// Lines that blocks have in the process's map, and may have.
  var lines: Int32
  var mostLines: Int32
  /// Regions that are ready, linked, of one page and of two; how many pages they have, and had at least since the period began.
  var ready: InlineArray<2, UInt32>
  var readyPages: UInt32
  var leastReadyPages: UInt32
  /// Bytes of pages that blocks had at once since then, or that were kept of before.
  var mostUsedBytes: Int64
  /// The descriptor by which pages are moved, and how the system tells it from others; 0: none. How often one has been opened.
  var mover: Int32
  var openings: Int32
  var moverIdentity: UInt64
  /// The lane's pages of the range: where it begins, up to where it has been used, and from where on the next region is looked for.
  var laneStart: UInt32
  var laneUsed: UInt32
  var laneCursor: UInt32
  var laneState: UInt8
  /// 1 while the descriptor is this process's.
  var laneOwn: UnsafeMutablePointer<Int64>?
  /// Pages of the lane that live blocks have, guards included.
  var laneTaken: Int64
}

extension MemGuard {
  /// Where the next search begins; a reader outside says what a page of the process is.
  public func cursorAddress(_ page: UInt) -> UInt { start &+ UInt(cursor) &* page }
  /// For readers outside: where the words for the range's pages are, and where the records: a table of chunks, and how many records.
  public var tableAddress: UInt { table.map { UInt(bitPattern: $0) } ?? 0 }
  public var chunksAddress: UInt { chunks.map { UInt(bitPattern: $0) } ?? 0 }
  public var records: UInt32 { recordCount }
  /// Bytes of the range that have been in use, the lane's among them.
  public func reached(_ page: UInt) -> UInt { opened &+ UInt(laneUsed &- laneStart) &* page }
}

public typealias MemGuardPointer = UnsafeMutablePointer<MemGuard>

@inline(__always)
public var memGuard: MemGuardPointer { rootState(MemGuard.self, at: RootLayout.memguardOffset) }

/// What the options say.
public struct GuardSettings {
  public var interval: Int64 = 0
  public var least: UInt = 0
  /// 0 for no largest size.
  public var most: UInt = 0
  public var side: UInt8 = 0
  public var widthBytes: UInt = 0
  public var divisor: Int64 = 10
  public var takesPages = false
  public var takesNoFree = false
  /// Bytes that there may be of all memory.
  public var memory: UInt = .max

  public init() {}
}

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Addresses that are reserved if they can be had, and that may be in use or freed before any comes back.
  static var rangeBytes: UInt { 64 << 30 }
  static var keptBytes: UInt { 1 << 30 }

  @inline(__always)
  public var isOn: Bool { pointee.interval != 0 }

  /// Whether so many requests are guarded that what is for them is done at once, and for each.
  var guardsMany: Bool { pointee.interval < 100 }

  /// Whether an address is in the range: the one thing that those pay who have no guards.
  @inline(__always)
  public func holds(_ address: UInt) -> Bool { address &- pointee.start < pointee.bytes }

  /// Takes over what the options say. False if MemGuard is to be on and no range can be had; it stays off then.
  public func configure(_ settings: GuardSettings) -> Bool {
    pointee.lock.rank = LockRank.guards
    if settings.interval > 0 && pointee.bytes == 0 && !reserve() {
      pointee.interval = 0
      return false
    }
    let page = UInt(pageBytes)
    let memory = Swift.min(UInt(stave_memory_bytes()), settings.memory)
    // No region that was made ready before is handed out after.
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    let divisor = UInt(Swift.max(0, settings.divisor))
    // What leaves nothing is no divisor.
    pointee.limit = memory / (divisor == 0 || memory / divisor < page ? 10 : divisor)
    pointee.width = UInt32(Swift.max(1, Swift.min(1 << 16, (settings.widthBytes + page - 1) / page)))
    pointee.side = settings.side
    pointee.least = settings.least
    pointee.most = settings.most == 0 ? .max : settings.most
    pointee.takesPages = settings.takesPages
    pointee.takesNoFree = settings.takesNoFree
    if settings.interval > 0 { drawAll(settings.interval) }
    if !isOn { pointee.openings = 0 }  // it may try anew
    pointee.interval = settings.interval
    dropReady()
    if isOn && pointee.usesMarks { _ = hasLane() } else if pointee.laneState == LaneState.open { markLane() }
    return true
  }

  /// Reserves the range and its tables, once.
  private func reserve() -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    if pointee.bytes != 0 { return true }
    let page = UInt(pageBytes)
    let flags = mapPrivateAnonymous | mapNoReserve
    var bytes = Self.rangeBytes
    let limit = UInt(clamping: stave_address_space_limit())
    while bytes > 16 << 20 && bytes > limit / 8 { bytes >>= 1 }
    while true {
      if let chunks = metadataPages.allocate(bytes: chunkTableBytes(pages: bytes / page)) {
        let start = stave_mmap(0, Int(bytes), 0, flags)
        let table = start > 0 ? stave_mmap(0, Int(bytes / page * 4), 0, flags) : -12
        if table > 0 {
          // Of 64 GiB that nobody has used a core has nothing to say, and gdb would write them all.
          _ = stave_madvise(UInt(bitPattern: start), Int(bytes), adviseDontDump)
          pointee.table = UnsafeMutablePointer<UInt32>(bitPattern: table)
          pointee.chunks = chunks.assumingMemoryBound(to: UnsafeMutablePointer<GuardedBlock>?.self)
          pointee.recordCount = 1
          pointee.lots = stave_lots()
          pointee.usesMarks = true
          pointee.mostLines = Int32(clamping: mapLineLimit() / 2)
          pointee.opened = 0
          pointee.kept = Self.keptBytes
          pointee.laneStart = UInt32(bytes / page) - lanePages(of: bytes / page)
          (pointee.laneUsed, pointee.laneCursor) = (pointee.laneStart, firstLanePage)
          pointee.start = UInt(bitPattern: start)
          pointee.bytes = bytes
          _ = openMore(1, isForced: true)  // now it is known whether there are marks
          return true
        }
        if start > 0 { _ = stave_munmap(UInt(bitPattern: start), Int(bytes)) }
        metadataPages.free(chunks, bytes: chunkTableBytes(pages: bytes / page))
      }
      bytes >>= 2
      if bytes < 16 << 20 { return false }
    }
  }

  private func chunkTableBytes(pages: UInt) -> Int { (Int(pages / UInt(GuardedBlock.perChunk) + 1) * 8).roundedUp(to: pageBytes) }

  // MARK: - fork

  public func lockForFork() { pointee.lock.lock() }

  /// The child has its parent's guards: marks and mappings are copied with the rest.
  public func unlockAfterFork(inChild: Bool) {
    guard inChild else { return pointee.lock.unlock() }
    pointee.lock.resetInChild()
    replaceMover()
    stave_watch_in_child()
  }
}
