// SPDX-License-Identifier: BSD-2-Clause
//
// Freeing, and questions about addresses. Whatever value is given, the answer is right or there is a report. What comes after a report,
// the process's end or going on as if the call had not been, is up to the option `onreport`.

import Diagnostics
import Accounting
import CPlatform
import Pages
import Primitives
import Zones

extension Heap {
  /// free. Null does nothing. An address that is not the start of a block is reported.
  @inline(__always)
  public static func free(_ memory: UnsafeMutableRawPointer?) {
    let hot = stave_hot()
    let address = UInt(bitPattern: memory)
    let unit = UInt64(address >> unitShift) &- stave_free_base()
    guard _fastPath(unit < hot.pointee.unit_count) else { return freeSlow(memory) }
    let cell = UInt64(hot.pointee.unit_cell![Int(truncatingIfNeeded: unit)])
    let result = stave_push(cell &* 32, memory)
    guard _fastPath(result == 0) else { return freeSlow(memory) }
  }

  @inline(never)
  static func freeSlow(_ memory: UnsafeMutableRawPointer?) {
    guard let memory else { return }
    if stave_is_called() { hear(memory) }
    release(memory)
  }

  /// Somebody rings for an answer, or traces.
  @inline(never)
  private static func hear(_ memory: UnsafeMutableRawPointer) {
    if stave_is_rung() { answerMailbox() }
    guard isTraced else { return }
    followTracers()
    traceFree(memory)
  }

  private static func release(_ memory: UnsafeMutableRawPointer) {
    switch ownerMap.pointee.owner(of: memory.address) {
    case .slab(let header):
      let slab = header.assumingMemoryBound(to: Slab.self)
      let keg = keg(of: slab)
      guard let zone = keg.pointee.zone else {
        return reportBadFree("free() of an item whose zone was destroyed", memory.address, keg: keg)
      }
      guard keg.pointee.flags.contains(.malloc) else {
        return reportBadFree("free() of an item that malloc did not give", memory.address, keg: keg)
      }
      guard keg.index(of: memory.address, in: slab) != nil else {
        if freedWithRedZone(memory) { return }
        return reportBadFree("free() of an address inside a block", memory.address, keg: keg)
      }
      if zone.pointee.type != 0 { return freeTyped(memory, zone) }
      zone.freeSlow(memory, stack: stackOfFree)
      noteSlowCall(moving: isTraced || CPUCache.isPassedBy ? zone.pointee.size : zone.pointee.bucketSize * zone.pointee.size)
    case .large:
      let type = types.type(Int(arena.largeType(at: memory.address)))
      let isReleased = type == nil ? arena.releaseLarge(memory.address, stack: stackOfFree) : freeTypedLarge(memory.address, type!)
      guard isReleased else {
        if freedWithRedZone(memory) { return }
        return reportBadLarge("free()", memory.address)
      }
      noteSlowCall()
    case .none:
      if freeGuarded(memory) || freedWithRedZone(memory) { return }
      guard let elsewhere = heap.pointee.freeElsewhere else { return reportUnowned("free()", memory.address) }
      elsewhere(memory)
    }
  }

  /// Whether it was a block with guard bytes: freed now, or reported.
  private static func freedWithRedZone(_ memory: UnsafeMutableRawPointer) -> Bool {
    switch takeOffRedZone(memory) {
    case .item(let item): release(item)
    case .freedTwice: break
    case .none: return false
    }
    return true
  }

  /// The zone may go when the item has been freed: another thread may have ended the type (Accounting/TypeEnds).
  private static func freeTyped(_ memory: UnsafeMutableRawPointer, _ zone: ZonePointer) {
    let bytes = zone.pointee.size, bucketSize = zone.pointee.bucketSize
    while true {
      let number = zone.pointee.type
      let type = types.type(Int(number))!
      demandMarked(type)
      guard type.give(bytes, isIts: { zone.pointee.type == number }, { zone.freeSlow(memory, stack: stackOfFree) }) else { continue }
      if type.pointee.isWatched && stave_loader_may_change(false) { forgetCallers() }
      // Of a type with an account, while somebody traces, and with item checks, each free comes here.
      return noteSlowCall(moving: type.hasAccount || isTraced || CPUCache.isPassedBy ? bytes : bytes * bucketSize)
    }
  }

  private static func freeTypedLarge(_ address: UInt, _ type: TypePointer) -> Bool {
    var isReleased = false
    _ = type.give(Int(arena.largeBytes(at: address) ?? 0), isIts: { true }, {
      isReleased = arena.releaseLarge(address, stack: stackOfFree)
      return isReleased
    })
    return isReleased
  }

  static func keg(of slab: SlabPointer) -> KegPointer {
    stave_kegs()[Int(slab.pointee.kegIndex)]!.assumingMemoryBound(to: Keg.self)
  }

  /// An address in a large block that is not its start, or a block freed already.
  @inline(never)
  static func reportBadLarge(_ call: StaticString, _ address: UInt) {
    var report = Report("bad free")
    report.text(call)
    report.text(" of ")
    report.address(address)
    let isFree = arena.describe(address, in: &report)
    report.text("\n")
    report.finish(next: isFree ? Report.freeAdvice : "")
  }

  /// An address without an owner: foreign, or inside a large block.
  @inline(never)
  static func reportUnowned(_ call: StaticString, _ address: UInt) {
    if arena.contains(address) { return reportBadLarge(call, address) }
    var report = Report("bad free")
    report.text(call)
    report.text(" of ")
    report.address(address)
    if describeOtherOwner(of: address, in: &report) {
      report.text("\n")
      return report.finish(next: "an address goes back to the copy of stave that gave it: to its zone, or to the malloc of the process")
    }
    report.text(", which stave does not own\n")
    report.finish()
  }

  /// malloc_usable_size: bytes that may be used; 0 for null. Nil for an address that is no block of ours.
  public static func usableSize(_ memory: UnsafeMutableRawPointer?) -> UInt? {
    guard let memory else { return 0 }
    return plainSize(memory) ?? redZoneBlock(at: memory.address)?.block.size
  }

  /// malloc_usable_size of an address that is no block.
  @inline(never)
  public static func reportNoBlock(_ memory: UnsafeMutableRawPointer) {
    if memGuard.holds(memory.address) { return memGuard.reportBadFree("malloc_usable_size()", memory.address, memGuard.block(around: memory.address)) }
    if reportFreed(memory, "malloc_usable_size() of a free block") { return }
    reportBadFree("malloc_usable_size() of an address that is no block", memory.address, keg: nil)
  }

  /// Of a block without guard bytes.
  private static func plainSize(_ memory: UnsafeMutableRawPointer) -> UInt? {
    switch ownerMap.pointee.owner(of: memory.address) {
    case .slab(let header):
      let slab = header.assumingMemoryBound(to: Slab.self)
      let keg = keg(of: slab)
      return keg.index(of: memory.address, in: slab) == nil ? nil : UInt(keg.pointee.layout.size)
    case .large: return arena.largeBytes(at: memory.address)
    case .none: return memGuard.liveBlock(at: memory.address)?.pointee.size
    }
  }

  /// realloc. Nil: no memory, and the old block is as it was. An address that is no block is reported, and then nil, too, with EINVAL.
  /// A block that moves is of `type` from then on; one that stays keeps the type it has.
  /// A block that has to be copied counts twice meanwhile.
  public static func reallocate(
    _ memory: UnsafeMutableRawPointer?, _ size: UInt, type: TypePointer? = nil, _ flags: WaitFlags = .noWait
  ) -> UnsafeMutableRawPointer? {
    func allocateNew() -> UnsafeMutableRawPointer? {
      type == nil && !flags.maySleep ? allocate(size) : allocate(size, type: type, flags)
    }
    func replace(_ memory: UnsafeMutableRawPointer, _ old: UInt) -> UnsafeMutableRawPointer? {
      guard let new = allocateNew() else { return nil }
      new.copyMemory(from: memory, byteCount: Int(min(old, size)))
      free(memory)
      return new
    }
    guard let memory else { return allocateNew() }
    if memGuard.holds(memory.address) { return reallocateGuarded(memory, size, type: type, allocateNew) }
    guard let old = plainSize(memory) else {
      if let (block, holder) = redZoneBlock(at: memory.address) {
        let block = checkForRealloc(block, holder)
        return resize(block, holder, to: size) ?? replace(memory, block.size)
      }
      if reportFreed(memory, "realloc() of a free block") { return stave_invalid() }
      switch ownerMap.pointee.owner(of: memory.address) {
      case .large: reportBadLarge("realloc()", memory.address)
      case .slab(let header):
        reportBadFree("realloc() of an address inside a block", memory.address, keg: keg(of: header.assumingMemoryBound(to: Slab.self)))
      case .none: reportUnowned("realloc()", memory.address)
      }
      return stave_invalid()
    }
    guard demandLive(memory, "realloc() of a free block") else { return stave_invalid() }
    // The class would not change, or shrinks by less than half (T9).
    if size <= old && (size > old / 2 || old == 16) && (old <= UInt(SizeClass.largest) || size > UInt(SizeClass.largest)) {
      return memory
    }
    if old > UInt(SizeClass.largest) && size > UInt(SizeClass.largest) {
      if let result = resize(memory, from: old, to: size) { return result }
    }
    return replace(memory, old)
  }

  /// A large block in place, or moved without copying; nil if neither can be: as it was. To tracers it is freed and given out, also
  /// where it stays as it was: they hear of the free before anybody else can have the address.
  private static func resize(_ memory: UnsafeMutableRawPointer, from old: UInt, to size: UInt) -> UnsafeMutableRawPointer? {
    let isHeard = isTraced
    if isHeard { traceFree(memory) }
    let result = resizeLarge(memory.address, from: old, to: size).flatMap { UnsafeMutableRawPointer(bitPattern: $0) }
    if isHeard { traceAllocation(result ?? memory, result == nil ? old : size) }
    return result
  }

  /// By way of the account of the type that it counts for, if that has one.
  static func resizeLarge(_ address: UInt, from old: UInt, to size: UInt) -> UInt? {
    guard let type = types.type(Int(arena.largeType(at: address))) else { return place(address, from: old, to: size) }
    guard let bytes = arena.blockBytes(size) else { return nil }
    return type.resize(from: Int(old), to: Int(bytes)) { place(address, from: old, to: size) }
  }

  private static func place(_ address: UInt, from old: UInt, to size: UInt) -> UInt? {
    if arena.resizeLarge(address, to: size) { return address }
    return old >= moveThreshold && size > old ? arena.moveLarge(address, to: size) : nil
  }

  /// Blocks from here on are moved by the kernel rather than copied.
  static var moveThreshold: UInt { 512 << 10 }
}
