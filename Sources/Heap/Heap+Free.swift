// SPDX-License-Identifier: BSD-2-Clause
//
// Freeing, and questions about addresses. Whatever value is given, the answer is right or the process stops with a report.

import Diagnostics
import Accounting
import CPlatform
import Pages
import Primitives
import Zones

extension Heap {
  /// free. Null does nothing. An address that is not the start of a block ends the process with a report.
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
    if isTraced {
      followTracers()
      traceFree(memory)
    }
    switch ownerMap.pointee.owner(of: memory.address) {
    case .slab(let header):
      let slab = header.assumingMemoryBound(to: Slab.self)
      let keg = keg(of: slab)
      guard let zone = keg.pointee.zone else {
        reportBadFree("free() of an item whose zone was destroyed", memory.address, keg: keg)
      }
      guard keg.pointee.flags.contains(.malloc) else {
        reportBadFree("free() of an item that malloc did not give", memory.address, keg: keg)
      }
      guard keg.index(of: memory.address, in: slab) != nil else {
        reportBadFree("free() of an address inside a block", memory.address, keg: keg)
      }
      zone.freeSlow(memory)
      if zone.pointee.type != 0, types.type(Int(zone.pointee.type))?.pointee.isWatched == true { forgetCallers() }
      noteSlowCall(moving: isTraced ? zone.pointee.size : zone.pointee.bucketSize * zone.pointee.size)
    case .large:
      guard arena.releaseLarge(memory.address) else { reportBadLarge("free()", memory.address) }
      noteSlowCall()
    case .none:
      guard let elsewhere = heap.pointee.freeElsewhere else { reportUnowned("free()", memory.address) }
      elsewhere(memory)
    }
  }

  static func keg(of slab: SlabPointer) -> KegPointer {
    stave_kegs()[Int(slab.pointee.kegIndex)]!.assumingMemoryBound(to: Keg.self)
  }

  /// An address in a large block that is not its start, or a block freed already.
  @inline(never)
  static func reportBadLarge(_ call: StaticString, _ address: UInt) -> Never {
    var report = Report("bad free")
    report.text(call)
    report.text(" of ")
    report.address(address)
    arena.describe(address, in: &report)
    report.text("\n")
    report.stop()
  }

  /// An address without an owner: foreign, or inside a large block.
  @inline(never)
  static func reportUnowned(_ call: StaticString, _ address: UInt) -> Never {
    if arena.contains(address) { reportBadLarge(call, address) }
    var report = Report("bad free")
    report.text(call)
    report.text(" of ")
    report.address(address)
    report.text(", which stave does not own\n")
    report.stop()
  }

  /// malloc_usable_size: bytes that may be used; 0 for null. Nil for an address that is no block of ours.
  public static func usableSize(_ memory: UnsafeMutableRawPointer?) -> UInt? {
    guard let memory else { return 0 }
    switch ownerMap.pointee.owner(of: memory.address) {
    case .slab(let header):
      let slab = header.assumingMemoryBound(to: Slab.self)
      let keg = keg(of: slab)
      return keg.index(of: memory.address, in: slab) == nil ? nil : UInt(keg.pointee.layout.size)
    case .large: return arena.largeBytes(at: memory.address)
    case .none: return nil
    }
  }

  /// realloc. Nil: no memory, and the old block is as it was. An address that is no block ends the process with a report.
  /// A block that moves is of `type` from then on; one that stays keeps the type it has (3.11).
  public static func reallocate(_ memory: UnsafeMutableRawPointer?, _ size: UInt, type: TypePointer? = nil) -> UnsafeMutableRawPointer? {
    func allocateNew() -> UnsafeMutableRawPointer? { type == nil ? allocate(size) : allocate(size, type: type!) }
    guard let memory else { return allocateNew() }
    guard let old = usableSize(memory) else {
      switch ownerMap.pointee.owner(of: memory.address) {
      case .large: reportBadLarge("realloc()", memory.address)
      case .slab(let header):
        reportBadFree("realloc() of an address inside a block", memory.address, keg: keg(of: header.assumingMemoryBound(to: Slab.self)))
      case .none: reportUnowned("realloc()", memory.address)
      }
    }
    // The class would not change, or shrinks by less than half (spec 4.9, T9).
    if size <= old && (size > old / 2 || old == 16) && (old <= UInt(SizeClass.largest) || size > UInt(SizeClass.largest)) {
      return memory
    }
    if old > UInt(SizeClass.largest) && size > UInt(SizeClass.largest) {
      if let result = resize(memory, from: old, to: size) { return result }
    }
    guard let new = allocateNew() else { return nil }
    new.copyMemory(from: memory, byteCount: Int(min(old, size)))
    free(memory)
    return new
  }

  /// A large block in place, or moved without copying; nil if neither can be. To tracers it is freed and given out, also where it
  /// stays as it was: they hear of the free before anybody else can have the address.
  private static func resize(_ memory: UnsafeMutableRawPointer, from old: UInt, to size: UInt) -> UnsafeMutableRawPointer? {
    let isHeard = isTraced
    if isHeard { traceFree(memory) }
    var result: UnsafeMutableRawPointer?
    if arena.resizeLarge(memory.address, to: size) {
      result = memory
    } else if old >= moveThreshold, size > old, let moved = arena.moveLarge(memory.address, to: size) {
      result = UnsafeMutableRawPointer(bitPattern: moved)
    }
    if isHeard { traceAllocation(result ?? memory, result == nil ? old : size) }
    return result
  }

  /// Blocks from here on are moved by the kernel rather than copied.
  static var moveThreshold: UInt { 512 << 10 }
}
