// SPDX-License-Identifier: BSD-2-Clause
//
// A type's limit: bytes that may be in use, counted as MemUse is, by classes and whole pages. A type that has or had one keeps an
// account, a number to which requests add before they take memory, unless that would be more than the limit, and frees after they
// have given it back. It is never less than what is in use, and the same when nobody is inside the type's gate.
//
// Only the account's types pay for it: their memory has no fast path. A type that gets its first limit while it is in use closes its
// gate for a moment: cells that threads may still be at are closed for ever, and what is in use is counted when nobody is inside.

import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

extension UnsafeMutablePointer where Pointee == TypesState {
  /// Gives a type another limit, 0 for none, at once: what is in use beyond it stays, and whoever waits looks again. False if the
  /// system refuses what a first limit needs. Takes the types' lock.
  public func setLimit(_ record: TypePointer, _ bytes: Int64) -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    return record.setLimit(bytes)
  }

  /// The same for the type of a number and a name's mark, as they were read from outside. Nil if there is none; else the limit before.
  public func setLimit(number: UInt32, mark: UInt32, _ bytes: Int64, _ isDone: inout Bool) -> Int64? {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    var next = pointee.first
    while let record = next {
      if record.pointee.number == number && TypeMark.of(record.pointee.name, instance: record.pointee.instance) == mark {
        let before = record.pointee.limit
        isDone = record.setLimit(bytes)
        return before
      }
      next = record.pointee.next
    }
    return nil
  }
}

/// What tells a type from the one that had its number before: 16 bits of name and instance.
public enum TypeMark {
  public static func of(_ name: FixedName, instance: UInt32) -> UInt32 {
    ((name.hash &+ instance) &* 0x9E37_79B1) >> 16
  }
}

extension UnsafeMutablePointer where Pointee == TypeRecord {
  // MARK: - Requests and frees

  /// Takes memory of the type by `body`, which is `bytes` long. Nil if `body` has none, or if it would be more than the limit.
  @inline(__always)
  public func take<Memory>(_ bytes: Int, _ isAtLimit: inout Bool, _ body: () -> Memory?) -> Memory? {
    let hasAccount = enter()
    defer { leave() }
    if hasAccount && !charge(Int64(bytes)) {
      isAtLimit = true
      return nil
    }
    isAtLimit = false
    let memory = body()
    if memory == nil && hasAccount { credit(Int64(bytes)) }
    return memory
  }

  /// Gives memory of the type back by `body`, which says whether it did; false, and nothing done, if it is this type's no more.
  @inline(__always)
  public func give(_ bytes: Int, isIts: () -> Bool, _ body: () -> Bool) -> Bool {
    let hasAccount = enter()
    defer { leave() }
    guard isIts() else { return false }
    let isGiven = body()
    if hasAccount && isGiven { credit(Int64(bytes)) }
    return true
  }

  /// Changes the size of a block by `body`, which says where it is; nil if that fails, or would be more than the limit.
  @inline(__always)
  public func resize(from old: Int, to new: Int, _ body: () -> UInt?) -> UInt? {
    let hasAccount = enter()
    defer { leave() }
    let more = Int64(new - old)
    if hasAccount && more > 0 && !charge(more) { return nil }
    let place = body()
    if hasAccount && more > 0 && place == nil { credit(more) }
    if hasAccount && more < 0 && place != nil { credit(-more) }
    return place
  }

  /// Adds to the account what fits in the limit of this moment.
  private func charge(_ bytes: Int64) -> Bool {
    while true {
      let limit = Int64(bitPattern: stave_load64(&pointee.limit)), charged = Int64(bitPattern: stave_load64(&pointee.charged))
      guard limit == 0 || bytes <= limit && charged <= limit - bytes else { return false }
      guard stave_replace64(&pointee.charged, charged, charged + bytes) else { continue }
      if Int64(bitPattern: stave_load64(&pointee.limit)) == limit { return true }
      credit(bytes)
    }
  }

  private func credit(_ bytes: Int64) {
    _ = stave_add_fetching(&pointee.charged, -bytes)
    if stave_load32(&pointee.sleepers) > 0 { wake() }
  }

  // MARK: - Waiting

  /// A request begins to wait, and ends.
  public func beginWaiting() {
    stave_add(&pointee.sleeps, 1)
    stave_add32(&pointee.sleepers, 1)
  }
  public func endWaiting() { stave_add32(&pointee.sleepers, -1) }

  /// To be read before the last look at the limit. What is freed after that ends `sleep`.
  public var turn: Int32 { stave_load32(&pointee.turn) }

  /// Until something is freed or the limit changes; so many nanoseconds at most.
  public func sleep(since turn: Int32, atMost nanoseconds: Int64) {
    _ = stave_futex_wait(&pointee.turn, UInt32(bitPattern: turn), nanoseconds)
  }

  private func wake() {
    stave_add32(&pointee.turn, 1)
    _ = stave_futex_wake(&pointee.turn, .max)
  }

  // MARK: - Under the types' lock

  fileprivate func setLimit(_ bytes: Int64) -> Bool {
    if bytes > 0 && !hasAccount && !openAccount() { return false }
    stave_store64(&pointee.limit, UInt64(bytes))
    wake()
    return true
  }

  private func openAccount() -> Bool {
    setMode(Gate.opening)
    var isClosed = true
    for index in 0..<SizeClass.count {
      pointee.cells[index] = 0
      guard let zone = pointee.zones[index] else { continue }
      zone.pointee.keg.pointee.cellOffset = 0
      isClosed = zone.closeCells() && isClosed
    }
    guard isClosed else {
      setMode(0)
      return false
    }
    waitUntilEmpty()
    pointee.charged = TypeTotals(self).usedBytes
    setMode(Gate.accounted)
    return true
  }

  /// In the child of a fork, with all locks free: requests of other threads are not under way there.
  func settleInChild() { if hasAccount { pointee.charged = TypeTotals(self).usedBytes } }
}
