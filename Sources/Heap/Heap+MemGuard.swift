// SPDX-License-Identifier: BSD-2-Clause
//
// Where malloc and free meet guarded blocks (Diagnostics/MemGuard). While MemGuard is on, the fast paths are closed, and each request
// comes by here: where the lot does not fall on it, it is served from the same cell as ever, one step further. A free knows a
// guarded block by its address, which lies outside the arena, whatever the options say by then.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  /// Takes over the options. False if there are no addresses for guarded blocks; MemGuard is off then.
  static func configureGuards() -> Bool {
    let options = heap.pointee.options
    var settings = GuardSettings()
    settings.interval = options[.memguard]
    settings.least = UInt(options[.memguardMin])
    settings.most = UInt(options[.memguardMax])
    settings.side = UInt8(options[.memguardSide])
    settings.widthBytes = UInt(options[.memguardWidth])
    settings.divisor = options[.memguardDivisor]
    settings.takesPages = options[.memguardPages] == 1
    settings.takesNoFree = options[.memguardNoFree] == 1
    settings.memory = mostMemory
    types.choose(UInt32(options[.memguardType]), for: .guards)
    let isDone = memGuard.configure(settings)
    memGuard.followZones()
    heap.openFastPath()
    return isDone
  }

  /// A request while the fast paths are closed for guards, and for nothing else: the item from the cell, unless the request may be
  /// guarded now. `whole`: the size whose class serves it, where that is another than its own.
  @inline(__always)
  static func passGuards(_ size: UInt, whole: UInt? = nil, _ type: TypePointer?) -> UnsafeMutableRawPointer? {
    guard UInt64(whole ?? size) < stave_hot().pointee.guarded_limit else { return nil }
    return takeUnguarded(size, whole ?? size, type)
  }

  private static func takeUnguarded(_ size: UInt, _ whole: UInt, _ type: TypePointer?) -> UnsafeMutableRawPointer? {
    let isMeant = memGuard.isMeant(size, type, SizeClass.index(for: Int(whole)))
    if isMeant && !memGuard.passesBy() || memGuard.isLargeEnough(size) { return nil }
    let cell = type.map { UInt64($0.pointee.cells[SizeClass.index(for: Int(whole))]) } ?? UInt64(stave_size_table()[Int(truncatingIfNeeded: (whole &+ 15) >> 4)])
    if let item = stave_pop(cell &* 32) {
      memGuard.note(size)
      return item
    }
    // It comes by once more.
    if isMeant { memGuard.takeBack() }
    return nil
  }

  /// The request as a guarded block, if it is to be one and can.
  static func takeGuarded(_ request: Request) -> UnsafeMutableRawPointer? {
    memGuard.note(request.size)
    let isIt = memGuard.isMeant(request.size, request.type, request.index) && memGuard.draw()
    guard isIt || memGuard.isLargeEnough(request.size), memGuard.isOn else { return nil }
    return makeGuarded(request.size, alignment: request.alignment, type: request.type)
  }

  private static func makeGuarded(_ size: UInt, alignment: UInt, type: TypePointer?) -> UnsafeMutableRawPointer? {
    memGuard.watch()
    return memGuard.allocate(size, alignment: alignment, type: type, stack: Stacks.record())
  }

  /// An address that nobody of the arena owns. False if it is no guarded block's either.
  static func freeGuarded(_ memory: UnsafeMutableRawPointer, _ call: StaticString = "free()") -> Bool {
    guard memGuard.holds(memory.address) else { return false }
    var damage = GuardDamage()
    switch memGuard.free(memory.address, stack: Stacks.record(), damage: &damage) {
    case .done: if var block = damage.block { memGuard.reportDamage(call, &block, damage) }
    case .bad(let block): memGuard.reportBadFree(call, memory.address, block)
    }
    noteSlowCall()
    return true
  }

  /// A guarded block is guarded when it is reallocated too, and always moves, so that its old address is not used on; where the
  /// guard is declined or MemGuard is off by now, it becomes an ordinary one. Copied is the smaller of both sizes asked for (L42).
  static func reallocateGuarded(
    _ memory: UnsafeMutableRawPointer, _ size: UInt, type: TypePointer?, _ allocateNew: () -> UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    guard let block = memGuard.liveBlock(at: memory.address), block.pointee.zone == 0 else {
      memGuard.reportBadFree("realloc()", memory.address, memGuard.block(around: memory.address))
      return stave_invalid()
    }
    let old = block.pointee.size
    guard let new = (memGuard.isOn ? makeGuarded(size, alignment: 1, type: type) : nil) ?? allocateNew() else { return nil }
    new.copyMemory(from: memory, byteCount: Int(min(old, size)))
    _ = freeGuarded(memory, "realloc()")
    return new
  }
}
