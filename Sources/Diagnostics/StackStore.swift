// SPDX-License-Identifier: BSD-2-Clause
//
// The store of stacks: a hash table that only grows, up to 16 MiB, so that a number stays good for the process's life. Readers
// outside find it from the root.
//
//   table     16,384 chains, and where the blocks lie: 256 of 64 KiB, made as they are needed
//   record    next of the chain, hash, count; return addresses, innermost first
//   number    the record's place in the blocks, in words
//
// There is no lock: words are taken by a counter, and a record that is complete is put before its chain. A thread that finds that
// another has just put the same one there takes that one, and its own is lost; so is one of a fork in between.

import CPlatform
import Pages
import Primitives

public struct StacksState {
  /// Nil until a stack is kept.
  public var table: UnsafeMutablePointer<StackTable>?
  /// Words taken of all blocks.
  public var words: Int64
  /// Different stacks that are kept.
  public var count: Int64
  /// Calls whose stack was not kept for want of room or memory.
  public var leftOut: Int64
  /// Records that a thread had made when another had just made the same.
  public var lost: Int64
  /// The option `stacks`.
  public var mode: UInt32
}

public struct StackTable {
  public static var chainCount: Int { 1 << 14 }
  public static var blockCount: Int { 256 }
  public static var blockWords: Int { 8192 }
  /// Newest record of each chain, 0 for none.
  public var chains: InlineArray<16384, Int32>
  /// Addresses, 0 for those that are not there yet.
  public var blocks: InlineArray<256, Int64>
}

public struct StackRecord: BitwiseCopyable {
  public var next: Int32
  public var hash: UInt32
  public var count: UInt32
  var reserved: UInt32
  /// Behind these, in words.
  public static var headerWords: Int { 2 }
}

/// How many stacks are wanted, as the option says it.
public enum StackMode {
  public static let auto: UInt32 = 0
  public static let none: UInt32 = 1
  public static let all: UInt32 = 2
}

@inline(__always)
public var stacks: UnsafeMutablePointer<StacksState> { rootState(StacksState.self, at: RootLayout.stacksOffset) }

extension UnsafeMutablePointer where Pointee == StacksState {
  @inline(__always)
  func wants(_ use: StackUse) -> Bool {
    switch pointee.mode {
    case StackMode.auto: use == .guarded
    case StackMode.all: true
    default: false
    }
  }

  /// The number of these return addresses, 32 at most, kept if they are not yet; 0 for none, and where there is no room.
  func number(of pcs: UnsafePointer<UInt>, count: Int) -> UInt32 {
    guard count > 0 else { return 0 }
    guard let table = tableNow ?? makeTable() else { return leaveOut() }
    let hash = Self.hash(pcs, count)
    let chain = table.chain(hash)
    var first = stave_load32(chain)
    if let known = find(pcs, count, hash, from: first, to: 0, in: table) { return known }
    guard let place = take(words: StackRecord.headerWords + count, in: table) else { return leaveOut() }
    let record = table.record(place)
    record.pointee.hash = hash
    record.pointee.count = UInt32(count)
    UnsafeMutableRawPointer(record + 1).assumingMemoryBound(to: UInt.self).initialize(from: pcs, count: count)
    while true {
      record.pointee.next = first
      if stave_swap32(chain, first, place) { break }
      let newest = stave_load32(chain)
      if let known = find(pcs, count, hash, from: newest, to: first, in: table) {
        stave_add(&pointee.lost, 1)
        return known
      }
      first = newest
    }
    stave_add(&pointee.count, 1)
    return UInt32(place)
  }

  /// Nothing was in it when it was published.
  private var tableNow: UnsafeMutablePointer<StackTable>? { pointee.table }

  private func leaveOut() -> UInt32 {
    stave_add(&pointee.leftOut, 1)
    return 0
  }

  /// The addresses of a stack; nil for what is no number of one.
  public func frames(of number: UInt32) -> UnsafeBufferPointer<UInt>? {
    guard number > 0, Int64(number) < Int64(bitPattern: stave_load64(&pointee.words)), let table = tableNow else { return nil }
    let record = table.record(Int32(number))
    guard record.pointee.count >= 1, record.pointee.count <= UInt32(Stacks.mostFrames) else { return nil }
    return UnsafeBufferPointer(start: UnsafeRawPointer(record + 1).assumingMemoryBound(to: UInt.self), count: Int(record.pointee.count))
  }

  static func hash(_ pcs: UnsafePointer<UInt>, _ count: Int) -> UInt32 {
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    for index in 0..<count {
      state = (state ^ UInt64(pcs[index])) &* 0xFF51_AFD7_ED55_8CCD
      state ^= state >> 32
    }
    return UInt32(truncatingIfNeeded: state)
  }

  /// Along the chain from `first` up to but not including `last`.
  private func find(
    _ pcs: UnsafePointer<UInt>, _ count: Int, _ hash: UInt32, from first: Int32, to last: Int32, in table: UnsafeMutablePointer<StackTable>
  ) -> UInt32? {
    var next = first
    while next != last {
      let record = table.record(next)
      if record.pointee.hash == hash && record.pointee.count == UInt32(count) {
        let words = UnsafeRawPointer(record + 1).assumingMemoryBound(to: UInt.self)
        var index = 0
        while index < count && words[index] == pcs[index] { index += 1 }
        if index == count { return UInt32(next) }
      }
      next = record.pointee.next
    }
    return nil
  }

  /// So many words in one block, whose memory is there. Nil if all are taken, or memory is not to be had.
  private func take(words: Int, in table: UnsafeMutablePointer<StackTable>) -> Int32? {
    let block = Int64(StackTable.blockWords)
    while true {
      let taken = Int64(bitPattern: stave_load64(&pointee.words))
      // Number 0 is none.
      var start = Swift.max(taken, Int64(StackRecord.headerWords))
      if start % block + Int64(words) > block { start = (start / block + 1) * block }
      guard start + Int64(words) <= block * Int64(StackTable.blockCount), table.makeBlock(Int(start / block)) else { return nil }
      if stave_replace64(&pointee.words, taken, start + Int64(words)) { return Int32(start) }
    }
  }

  @inline(never)
  func makeTable() -> UnsafeMutablePointer<StackTable>? {
    let bytes = MemoryLayout<StackTable>.size.roundedUp(to: pageBytes)
    guard let memory = Self.pages(bytes: bytes) else { return nil }
    let isFirst = withUnsafeMutablePointer(to: &pointee.table) {
      $0.withMemoryRebound(to: Int64.self, capacity: 1) { stave_replace64($0, 0, Int64(memory.address)) }
    }
    if !isFirst { metadataPages.free(memory, bytes: bytes) }
    return pointee.table
  }

  /// Metadata pages, unless this thread may be the one that holds their lock, interrupted by a signal: who else holds it lets go
  /// within a system call, and is given 100 ms.
  static func pages(bytes: Int) -> UnsafeMutableRawPointer? {
    var tries = 0
    while metadataPages.pointee.lock.isHeld {
      tries += 1
      if tries < 1000 {
        stave_pause()
      } else if tries < 1100 {
        var never: UInt32 = 0
        _ = stave_futex_wait(&never, 0, 1_000_000)
      } else {
        return nil
      }
    }
    return metadataPages.allocate(bytes: bytes)
  }
}

extension UnsafeMutablePointer where Pointee == StackTable {
  @inline(__always)
  func chain(_ hash: UInt32) -> UnsafeMutablePointer<Int32> {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: Int32.self) + Int(hash) & (StackTable.chainCount - 1)
  }

  @inline(__always)
  private func block(_ index: Int) -> UnsafeMutablePointer<Int64> {
    (UnsafeMutableRawPointer(self) + StackTable.chainCount * 4).assumingMemoryBound(to: Int64.self) + index
  }

  /// A record's number was taken where memory is.
  @inline(__always)
  func record(_ number: Int32) -> UnsafeMutablePointer<StackRecord> {
    let start = UInt(stave_load64(block(Int(number) / StackTable.blockWords)))
    return UnsafeMutableRawPointer(bitPattern: start + UInt(Int(number) % StackTable.blockWords) * 8)!.assumingMemoryBound(to: StackRecord.self)
  }

  fileprivate func makeBlock(_ index: Int) -> Bool {
    let block = block(index)
    if stave_load64(block) != 0 { return true }
    let bytes = (StackTable.blockWords * 8).roundedUp(to: pageBytes)
    guard let memory = UnsafeMutablePointer<StacksState>.pages(bytes: bytes) else { return false }
    if !stave_replace64(block, 0, Int64(memory.address)) { metadataPages.free(memory, bytes: bytes) }
    return true
  }
}
