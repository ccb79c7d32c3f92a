// SPDX-License-Identifier: BSD-2-Clause
//
// Where metadata comes from: pages apart from all items, so that an overrun does not reach them. The boot memory in .bss is
// used up first (L10), then chunks mapped for the purpose. Whole pages come and go; a page given back is kept for the next
// request and never unmapped, since it may still be read from outside.
//
// Lock: `lock` (rank metadata), the innermost. Cost: a few instructions, a system call per chunk.

import CPlatform
import Primitives

public struct MetadataPages: ~Copyable {
  public var lock: FutexLock
  /// Unused rest of the current chunk.
  var next: UInt
  var end: UInt
  /// Single pages given back, linked through their first word.
  var freePages: UInt
  public var freePageCount: Int
  /// Bytes of all chunks, boot memory included.
  public var mappedBytes: Int
  /// Bytes handed out and not given back.
  public var usedBytes: Int
  /// Chunks mapped so far: what start-up tests count.
  public var chunkCount: Int
  /// Whether mappings made after start-up are named too: a call that a sandbox may punish, and nobody needs.
  public var namesAll: Bool

  static let chunkBytes = 256 << 10

}

/// The one supply of this core.
@inline(__always)
public var metadataPages: UnsafeMutablePointer<MetadataPages> {
  rootState(MetadataPages.self, at: RootLayout.metadataOffset)
}

extension UnsafeMutablePointer where Pointee == MetadataPages {
  /// Whole pages of the boot memory are used; where pages are large there may be none.
  public func start(boot: UInt, bytes: Int) {
    let page = UInt(pageBytes)
    pointee.lock.rank = LockRank.metadata
    pointee.next = (boot + page - 1).roundedDown(to: page)
    pointee.end = Swift.max((boot + UInt(bytes)).roundedDown(to: page), pointee.next)
    pointee.mappedBytes = Int(pointee.end - pointee.next)
    metadataChunks.add(pointee.next, bytes: pointee.mappedBytes)
  }

  /// Zeroed memory of `bytes`, a multiple of the page size, page-aligned. Nil when the system refuses.
  public func allocate(bytes: Int) -> UnsafeMutableRawPointer? {
    let page = pageBytes
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    if bytes == page, let recycled = UnsafeMutableRawPointer(bitPattern: pointee.freePages) {
      pointee.freePages = recycled.load(as: UInt.self)
      pointee.freePageCount -= 1
      pointee.usedBytes += bytes
      recycled.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
      return recycled
    }
    if pointee.end &- pointee.next < UInt(bytes) && !addChunk(atLeast: bytes) { return nil }
    let start = pointee.next
    pointee.next += UInt(bytes)
    pointee.usedBytes += bytes
    return UnsafeMutableRawPointer(bitPattern: start)
  }

  /// Takes back what `allocate` gave, whole or page by page.
  public func free(_ start: UnsafeMutableRawPointer, bytes: Int) {
    let page = pageBytes
    pointee.lock.lock()
    var offset = 0
    while offset < bytes {
      (start + offset).storeBytes(of: pointee.freePages, as: UInt.self)
      pointee.freePages = (start + offset).address
      pointee.freePageCount += 1
      offset += page
    }
    pointee.usedBytes -= bytes
    pointee.lock.unlock()
  }

  /// Maps so much at once, untouched: for processes whose address space is limited, where none may be left when the arena
  /// has taken it all and slabs want headers.
  public func reserve(bytes: Int) {
    pointee.lock.lock()
    _ = addChunk(atLeast: bytes)
    pointee.lock.unlock()
  }

  /// The rest of the old chunk joins the free pages, so nothing is stranded.
  private func addChunk(atLeast bytes: Int) -> Bool {
    let forRanges = metadataChunks.isFull ? pageBytes : 0
    let wanted = Swift.max(bytes.roundedUp(to: pageBytes) + forRanges, MetadataPages.chunkBytes)
    guard let start = mapAnonymous(bytes: wanted, name: "stave:metadata") else { return false }
    while pointee.next < pointee.end {
      UnsafeMutableRawPointer(bitPattern: pointee.next)!.storeBytes(of: pointee.freePages, as: UInt.self)
      pointee.freePages = pointee.next
      pointee.freePageCount += 1
      pointee.next += UInt(pageBytes)
    }
    pointee.next = start
    pointee.end = start + UInt(wanted)
    pointee.mappedBytes += wanted
    pointee.chunkCount += 1
    if forRanges > 0 {
      metadataChunks.addPage(pointee.next)
      pointee.next += UInt(forRanges)
    }
    metadataChunks.add(start, bytes: wanted)
    return true
  }
}

extension UnsafeMutablePointer where Pointee == MetadataPages {
  /// Every page is in use, free, or not handed out yet; the list of free ones is as long as it says.
  public func checkInvariants() {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    var free = 0
    var next = pointee.freePages
    while next != 0 {
      precondition(next % UInt(pageBytes) == 0, "a free metadata page that is no page")
      free += 1
      precondition(free <= pointee.freePageCount, "more free metadata pages than counted")
      next = UnsafePointer<UInt>(bitPattern: next)!.pointee
    }
    precondition(free == pointee.freePageCount, "fewer free metadata pages than counted")
    precondition(pointee.next <= pointee.end, "the rest of a chunk ends before it begins")
    precondition(
      pointee.usedBytes + (free + metadataChunks.pageCount) * pageBytes + Int(pointee.end - pointee.next) == pointee.mappedBytes,
      "metadata pages are lost")
  }
}

// MARK: - Mapping

public let protectionReadWrite: Int32 = 3
public let mapPrivateAnonymous: Int32 = 0x22
public let mapNoReserve: Int32 = 0x4000
let mapFixedNoReplace: Int32 = 0x100000
public let mapFixed: Int32 = 0x10

/// Private zeroed memory somewhere, named for /proc/PID/maps where the kernel can (nameMapping). Nil when the system refuses.
public func mapAnonymous(bytes: Int, name: StaticString) -> UInt? {
  let result = stave_mmap(0, bytes, protectionReadWrite, mapPrivateAnonymous | mapNoReserve)
  guard result > 0 else { return nil }
  nameMapping(UInt(bitPattern: result), bytes: bytes, name)
  return UInt(bitPattern: result)
}

/// At start-up; later only with `verbose:1`.
func nameMapping(_ start: UInt, bytes: Int, _ name: StaticString) {
  guard root.pointee.magic == 0 || metadataPages.pointee.namesAll else { return }
  _ = stave_prctl(0x5356_4d41 /* PR_SET_VMA */, 0 /* ANON_NAME */, start, UInt(bytes), UInt(bitPattern: name.utf8Start))
}
