// SPDX-License-Identifier: BSD-2-Clause
//
// A request behind the fast path, of whatever size and for whatever type: one try, one with all caches given up, waiting, and what is
// counted if it comes to nothing. Failures and sleeps are counted once for a request, however often it tries.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Synchronization
import Zones

struct Request {
  var size: UInt
  var alignment: UInt
  var type: TypePointer?
  /// The class that serves it; nil for a large block.
  var index: Int?
  var isZeroed: Bool
  /// Zero are all bytes of the class, not only those asked for.
  var zeroesAll = false
  /// What stopped the last try: the type's limit, not a want of memory.
  var isAtLimit = false

  init(_ size: UInt, alignment: UInt = 1, type: TypePointer? = nil, isZeroed: Bool = false) {
    self.size = size
    self.alignment = alignment
    self.type = type
    self.isZeroed = isZeroed
    if alignment <= 16 {
      index = size <= UInt(SizeClass.largest) ? SizeClass.index(for: Int(size)) : nil
    } else {
      index = size <= UInt(SizeClass.largest) && alignment <= UInt(SizeClass.largest) ? SizeClass.index(for: Int(size), alignment: Int(alignment)) : nil
    }
  }

  /// What it counts for.
  var bytes: UInt? { index.map { UInt(SizeClass.size($0)) } ?? arena.blockBytes(max(size, 1)) }

  /// The zone that it is counted for, if there is one: the type's, else malloc's.
  var zone: ZonePointer? {
    guard let index else { return nil }
    return type?.knownZone(index) ?? publishedZone(&heap.pointee.classZones, index)
  }
}

extension Heap {
  /// Memory for the request, or nil with ENOMEM, counted as a failure.
  @inline(never)
  static func obtain(_ request: Request, _ flags: WaitFlags = .noWait) -> UnsafeMutableRawPointer? {
    guard heap.isReady || heap.start() else { return stave_no_memory() }
    followTracers()
    // Who waits cannot fail (L34).
    if heap.pointee.options[.failureRate] > 0 && !flags.maySleep && injectsFailure() { return refuse(request.type) }
    if let type = request.type { demandMarked(type) }
    var request = request
    if request.index != nil { noteSlowCall() }
    if memGuard.isOn, let memory = takeGuarded(request) { return memory }
    let size = request.size
    let guarded = heap.pointee.options[.redZone] > 0 ? withRedZone(request) : nil
    if let guarded { request = guarded }
    var memory = take(&request)
    if memory == nil && flags.maySleep { memory = waitFor(&request, canFail: flags.contains(.canFail)) }
    guard var memory else { return fail(request) }
    if guarded != nil { memory = putRedZone(memory, request, size: size) }
    if isTraced { traceAllocation(memory, size) }
    return memory
  }

  /// After giving up all caches, if need be: what they hold may be enough, or what cached runs and the gaps between them make
  /// together; after that there is nothing left to try.
  private static func take(_ request: inout Request) -> UnsafeMutableRawPointer? {
    if let memory = takeOnce(&request) { return memory }
    guard !request.isAtLimit, isWorthReclaiming(request.size, alignment: request.alignment) else { return nil }
    reclaimAll(.drainCPU)
    if let memory = takeOnce(&request) { return memory }
    guard !request.isAtLimit else { return nil }
    arena.purge(recentToo: true)
    arena.waitForPurges()
    return takeOnce(&request)
  }

  private static func takeOnce(_ request: inout Request) -> UnsafeMutableRawPointer? {
    guard let index = request.index else { return takeLarge(&request) }
    var item: UnsafeMutableRawPointer?
    // A type that gets no zone has its memory from malloc's, of its hash class: better uncounted than refused.
    if let type = request.type, let zone = type.zone(index) {
      item = type.take(zone.pointee.size, &request.isAtLimit) { zone.allocateSlow(.noWait, argument: nil, isCounted: false) }
    } else {
      let zone = request.type.flatMap({ hashClasses.record(for: $0) })?.zone(index) ?? heap.zone(index)
      item = zone?.allocateSlow(.noWait, argument: nil, isCounted: false)
    }
    if item != nil && heap.pointee.options[.sizes] != 0 {
      let size = request.alignment > 16 ? UInt(SizeClass.size(index)) : request.size
      sizeHistogram.count(size, given: UInt(SizeClass.size(index)), isLarge: false)
    }
    if let item, request.isZeroed { clear(item, bytes: request.zeroesAll ? UInt(SizeClass.size(index)) : request.size) }
    return item
  }

  private static func takeLarge(_ request: inout Request) -> UnsafeMutableRawPointer? {
    let size = max(request.size, 1), alignment = request.alignment
    guard let bytes = arena.blockBytes(size) else { return nil }
    var found: LargeBlock?
    if let type = request.type {
      let number = type.pointee.number
      found = type.take(Int(bytes), &request.isAtLimit) { arena.takeLarge(size: size, alignment: alignment, type: number) }
    } else {
      found = arena.takeLarge(size: size, alignment: alignment)
    }
    guard let block = found, let memory = UnsafeMutableRawPointer(bitPattern: block.start) else { return nil }
    if heap.pointee.options[.sizes] != 0 { sizeHistogram.count(request.size, given: bytes, isLarge: true) }
    if request.isZeroed && !block.isZero { clear(memory, bytes: request.zeroesAll ? bytes : request.size) }
    return memory
  }

  static func clear(_ memory: UnsafeMutableRawPointer, bytes: UInt) {
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Int(bytes))
  }

  /// Again and again: at a type's limit when something of the type has been freed or the limit has changed, for want of memory each
  /// time a little later. Nil for what can never be had; with `canFail` also where nothing is left to be given back, and when
  /// patience is over.
  private static func waitFor(_ request: inout Request, canFail: Bool) -> UnsafeMutableRawPointer? {
    request.type?.beginWaiting()
    request.zone?.noteSleep()
    defer { request.type?.endWaiting() }
    let start = stave_nanoseconds()
    var pause: Int64 = 1_000_000
    while true {
      let turn = request.type?.turn ?? 0
      if let memory = take(&request) { return memory }
      guard isWorthWaiting(request, canFail: canFail) else { return nil }
      var left = Int64.max
      if canFail {
        left = WaitFlags.patience - (stave_nanoseconds() - start)
        if left <= 0 { return nil }
      }
      if request.isAtLimit, let type = request.type {
        // Not longer: the limit may be raised by mail, and nobody else be there to read it.
        type.sleep(since: turn, atMost: min(left, 100_000_000))
      } else {
        var never: UInt32 = 0
        _ = stave_futex_wait(&never, 0, min(left, pause))
        pause = min(pause * 2, 100_000_000)
      }
      if OwnMailbox.hasMail { answerMailbox() }
    }
  }

  private static func isWorthWaiting(_ request: Request, canFail: Bool) -> Bool {
    guard let bytes = request.bytes else { return false }
    if canFail && !isWorthReclaiming(request.size, alignment: request.alignment) { return false }
    if canFail && request.isAtLimit, let limit = request.type?.pointee.limit, limit > 0, bytes > UInt(limit) { return false }
    return couldBeHad(request.size, alignment: request.alignment)
  }

  /// What cannot be had whatever is given up, more than the window has beside large blocks, than the limit of address space or
  /// than twice the machine's memory, must not cost everybody's caches.
  static func isWorthReclaiming(_ size: UInt, alignment: UInt = 1) -> Bool {
    let window = arena.pointee.windowEnd - arena.pointee.windowStart
    let taken = arena.pointee.largeBytes + arena.pointee.foreignBytes
    return taken < window && size <= window - taken && couldBeHad(size, alignment: alignment)
  }

  /// If everybody freed everything.
  private static func couldBeHad(_ size: UInt, alignment: UInt) -> Bool {
    let window = arena.pointee.windowEnd - arena.pointee.windowStart
    guard size <= window, alignment <= window else { return false }
    return UInt64(size) <= stave_address_space_limit() && size / 2 <= UInt(stave_memory_bytes())
  }

  // MARK: - What comes to nothing

  /// For want of memory, or because of a limit.
  private static func fail(_ request: Request) -> UnsafeMutableRawPointer? {
    stave_add(&heap.pointee.failures, 1)
    request.zone?.noteFailure()
    return refuse(request.type)
  }

  /// The same of what is no request of malloc's.
  static func fail(_ type: TypePointer) -> UnsafeMutableRawPointer? {
    stave_add(&heap.pointee.failures, 1)
    return refuse(type)
  }

  /// For whatever reason. errno = ENOMEM.
  static func refuse(_ type: TypePointer?) -> UnsafeMutableRawPointer? {
    if let type { stave_add(&type.pointee.failures, 1) }
    return stave_no_memory()
  }

  static func injectsFailure() -> Bool {
    let rate = heap.pointee.options[.failureRate]
    guard rate > 0 else { return false }  // set to 0 a moment ago
    let calls = Int64(heap.pointee.injectableCalls.wrappingAdd(1, ordering: .relaxed).newValue)
    guard calls % rate == 0 else { return false }
    stave_add(&heap.pointee.injectedFailures, 1)
    return true
  }
}
