// SPDX-License-Identifier: BSD-2-Clause
//
// The list of types: registration, which looks at what it is given in every build (L44), and its end, which says what is still
// out (L53).

import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

extension UnsafeMutablePointer where Pointee == TypesState {
  /// Call once, when the arena and the zones have started.
  public func start() {
    pointee.lock.rank = LockRank.types
    pointee.nextNumber = 1
  }

  /// Makes an author's type known. A structure that is no type, or of another version, ends the process with a report. Nil if
  /// memory for the record is not to be had, or there are as many types as there can be. A type that is known already stays as it is.
  @discardableResult
  public func register(_ author: UnsafeMutablePointer<stave_type>) -> TypePointer? {
    check(author, "registration of a malloc type")
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    if let known = record(of: author) { return known }
    let name = author.pointee.name.map { FixedName(cString: $0) } ?? FixedName()
    guard let record = add(name, author: author, limit: Int64(clamping: author.pointee.limit)) else {
      pointee.hasRefused = true
      return nil
    }
    stave_store_pointer(&author.pointee.internals, UnsafeMutableRawPointer(record))
    return record
  }

  /// The type of this name that Stave has made, or a new one; nil if memory is not to be had, or where a new one would be more than
  /// `most` types. For names that mean the same thing wherever they come from: a library's.
  public func named(_ name: FixedName, isWatched: Bool = false, most: Int = .max) -> TypePointer? {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    let places = 2 * Int(STAVE_MAX_TYPES)  // never full
    if pointee.byName == nil {
      guard let table = metadataPages.allocate(bytes: (places * 2).roundedUp(to: pageBytes)) else { return nil }
      pointee.byName = table.assumingMemoryBound(to: UInt16.self)
    }
    let numbers = pointee.byName!
    var place = Int(name.hash) & (places - 1)
    while numbers[place] != 0 {
      if let known = type(Int(numbers[place])), known.pointee.name.equals(name) { return known }
      place = (place + 1) & (places - 1)
    }
    guard pointee.count < most, let record = add(name) else { return nil }
    record.pointee.isWatched = isWatched
    numbers[place] = UInt16(record.pointee.number)
    return record
  }

  /// Ends an author's type. What is still out is reported, and is memory without a type from then on; it may still be freed.
  /// A type that is not known ends the process with a report, unless one was refused. Returns how many blocks are out.
  /// `guarded`: blocks of it that MemGuard has, which its figures leave out. `isSaidMore`: the caller says who asked for them.
  @discardableResult
  public func unregister(
    _ author: UnsafeMutablePointer<stave_type>, guarded: (blocks: Int64, bytes: Int64) = (0, 0), isSaidMore: Bool = false
  ) -> Int {
    check(author, "unregistration of a malloc type")
    pointee.lock.lock()
    guard let record = record(of: author), unlink(record) else {
      let wasRefused = author.pointee.internals == nil && pointee.hasRefused
      pointee.lock.unlock()
      if wasRefused { return 0 }
      stop("unregistration of a malloc type", "it is not registered", author)
    }
    author.pointee.internals = nil
    record.pointee.author = nil
    record.pointee.isEnded = true
    pointee.lock.unlock()
    // No look sees the type any more: only now sums are taken.
    let totals = TypeTotals(record)
    let blocks = totals.used + guarded.blocks
    if blocks > 0 {
      var report = Report("malloc type ended with blocks out")
      report.name(record.pointee.name)
      report.text(": ")
      report.count(UInt(blocks), "block")
      report.text(", ")
      report.count(UInt(totals.usedBytes + guarded.bytes), "byte")
      report.text("\n")
      report.conclude(next: isSaidMore ? "" : "STAVE_OPTIONS=redzone:1 says where they were asked for")
    }
    end(record)
    return Int(blocks)
  }

  /// The type of a number that `named` or `register` gave. One load.
  @inline(__always)
  public func type(_ number: Int) -> TypePointer? { pointee.records?[number] }

  /// Calls `body` with each type, newest first, under the list's lock.
  public func forEach(_ body: (TypePointer) -> Void) {
    pointee.lock.lock()
    var next = pointee.first
    while let type = next {
      body(type)
      next = type.pointee.next
    }
    pointee.lock.unlock()
  }

  /// The newest type of that name, nil if none has it.
  public func find(_ name: FixedName) -> TypePointer? {
    var found: TypePointer? = nil
    forEach { if found == nil && $0.pointee.name.equals(name) { found = $0 } }
    return found
  }

  public func lockForFork() { pointee.lock.lock() }

  public func unlockAfterFork(inChild: Bool) {
    guard inChild else { return pointee.lock.unlock() }
    pointee.lock.resetInChild()
    pointee.isSweeping = 0
    for number in 1..<Swift.max(1, Int(pointee.nextNumber)) { type(number)?.emptyInChild() }
    var next = pointee.first
    while let record = next {
      record.settleInChild()
      next = record.pointee.next
    }
  }

  // MARK: - Under the lock

  /// As `record(of:)`, for others. Takes the list's lock.
  public func known(_ author: UnsafeMutablePointer<stave_type>) -> TypePointer? {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    return record(of: author)
  }

  /// What lies in the structure may be anything, also a copy of another's: it is compared, not followed.
  private func record(of author: UnsafeMutablePointer<stave_type>) -> TypePointer? {
    guard let internals = author.pointee.internals else { return nil }
    for number in 1..<Swift.max(1, Int(pointee.nextNumber)) {
      if let record = type(number), UnsafeMutableRawPointer(record) == internals { return record.pointee.author == author ? record : nil }
    }
    return nil
  }

  private func add(_ name: FixedName, author: UnsafeMutablePointer<stave_type>? = nil, limit: Int64 = 0) -> TypePointer? {
    guard let record = takeRecord() else { return nil }
    var instance: UInt32 = 0
    var next = pointee.first
    while let other = next {
      if other.pointee.name.equals(name) { instance = Swift.max(instance, other.pointee.instance + 1) }
      next = other.pointee.next
    }
    // All but number and gate, which go on from type to type; zones and cells the last one has left empty.
    record.pointee.next = pointee.first
    record.pointee.name = name
    record.pointee.instance = instance
    record.pointee.failures = 0
    record.pointee.sleeps = 0
    record.pointee.limit = limit
    record.pointee.charged = 0
    record.setMode(limit > 0 ? Gate.accounted : 0)
    record.pointee.isWatched = false
    record.setChoices(for: name)
    record.pointee.isEnded = false
    record.pointee.author = author
    record.pointee.nextUnused = nil
    atomicMemoryFence(ordering: .releasing)
    pointee.first = record
    pointee.count += 1
    return record
  }

  private func unlink(_ record: TypePointer) -> Bool {
    if pointee.first == record {
      pointee.first = record.pointee.next
    } else {
      var before = pointee.first
      while let candidate = before, candidate.pointee.next != record { before = candidate.pointee.next }
      guard let before else { return false }
      before.pointee.next = record.pointee.next
    }
    pointee.count -= 1
    return true
  }

  // MARK: - What is no type

  private func check(_ author: UnsafeMutablePointer<stave_type>, _ what: StaticString) {
    guard author.pointee.magic == STAVE_TYPE_MAGIC else { stop(what, "the structure does not begin with its mark", nil) }
    guard author.pointee.version == 1 else { stop(what, "its version is not 1", author) }
  }

  private func stop(_ what: StaticString, _ why: StaticString, _ author: UnsafeMutablePointer<stave_type>?) -> Never {
    var report = Report("bad malloc type")
    report.text(what)
    if let name = author?.pointee.name {
      report.text(" ")
      report.name(FixedName(cString: name))
    }
    report.text(": ")
    report.text(why)
    report.text("\n")
    report.stop()
  }
}

extension UnsafeMutablePointer where Pointee == TypeRecord {
  /// Whether the author's structure, if there is one, begins as it did when the type was registered.
  public var isMarked: Bool { pointee.author.map { $0.pointee.magic == STAVE_TYPE_MAGIC } ?? true }

  /// A type whose author is another: none that Stave makes, nor one that has ended.
  public func isOfAnother(than author: UnsafeMutablePointer<stave_type>) -> Bool {
    pointee.author.map { $0 != author } ?? false
  }
}
