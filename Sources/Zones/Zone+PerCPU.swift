// SPDX-License-Identifier: BSD-2-Clause
//
// Zones of items that every CPU has a copy of (`perCPU`), such as counters. One allocation is all copies: that of CPU i lies i pages
// behind what the allocation gave, which is that of CPU 0. CPUs are counted as far as their numbers reach, with gaps and those that
// may come.
//
//   page of CPU 0   | item 0 | item 1 | …
//   page of CPU 1   | item 0 | item 1 | …     copy(1) of item 0
//
// Hooks are called once for an item, with its first copy. There are no caches: such items are few and live long. Plain allocate and free
// know nothing of copies; since there is no cell they come to Zone+Allocate's and Zone+Free's slow paths, and are reported there.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  /// The same place in the page of each CPU; for other kegs than those `perCPU`, the place itself.
  func forEachCopy(of address: UInt, _ body: (UnsafeMutableRawPointer) -> Void) {
    let count = pointee.flags.contains(.perCPU) ? pointee.layout.slabBytes / pageBytes : 1
    for cpu in 0..<count { body(UnsafeMutableRawPointer(bitPattern: address + UInt(cpu * pageBytes))!) }
  }
}

/// Where a CPU's copy of an item lies. `cpu` is below `perCPUCopies`.
@inline(__always)
public func perCPUCopy(of item: UnsafeMutableRawPointer, cpu: Int) -> UnsafeMutableRawPointer { item + cpu * pageBytes }

/// How many copies an item of a `perCPU` zone has: one more than the largest CPU number.
public var perCPUCopies: Int { Int(root.pointee.cpuCount) }

extension UnsafeMutablePointer where Pointee == Zone {
  /// An item for every CPU, or nil as `allocate` gives it. `zero` zeroes all copies, after the constructor. Takes the keg's lock.
  public func allocatePerCPU(_ flags: WaitFlags = .noWait, argument: UnsafeMutableRawPointer? = nil) -> UnsafeMutableRawPointer? {
    guard pointee.flags.contains(.perCPU) else {
      refuseKind("allocatePerCPU")
      return nil
    }
    let flags = flags.checked
    #if STAVE_CHECK_LOCKS
    if flags.maySleep { checkMaySleep() }
    #endif
    guard let item = takeItem(flags) else { return nil }
    if let constructor = pointee.constructor {
      FutexLock.enterHook(maySleep: flags.maySleep)
      let isRefused = constructor(item, pointee.size, argument, flags.rawValue) != 0
      FutexLock.leaveHook(maySleep: flags.maySleep)
      if isRefused {
        takeBack(item)
        return nil
      }
    }
    if flags.contains(.zero) {
      pointee.keg.forEachCopy(of: item.address) { $0.initializeMemory(as: UInt8.self, repeating: 0, count: pointee.size) }
    }
    return item
  }

  /// Frees all copies. Null does nothing. Never sleeps.
  public func freePerCPU(_ item: UnsafeMutableRawPointer?, argument: UnsafeMutableRawPointer? = nil) {
    guard let item else { return }
    guard pointee.flags.contains(.perCPU) else { return refuseKind("freePerCPU") }
    if pointee.destructor != nil || pointee.zoneFini != nil {
      // Before an author's hook sees it.
      guard pointee.keg.demandTaken(item.address, "double free") else { return }
    }
    if let destructor = pointee.destructor {
      FutexLock.enterHook(maySleep: false)
      destructor(item, pointee.size, argument)
      FutexLock.leaveHook(maySleep: false)
    }
    stave_add(&pointee.directFrees, 1)
    var address = item.address
    release(&address, count: 1)
  }

  /// Reports a call that does not suit the zone.
  @inline(never)
  func refuseKind(_ call: StaticString) {
    var report = Report("bad request")
    report.text(call)
    report.text(pointee.flags.contains(.perCPU) ? " of an item that every CPU has a copy of" : " of an item without copies")
    report.text(", in zone ")
    report.name(pointee.name)
    report.text("\n")
    report.finish(next: "zones made with perCPU have allocatePerCPU and freePerCPU, and only those")
  }
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// The zone "pcpu-4", "pcpu-8", "pcpu-16", "pcpu-32" or "pcpu-64", made when first asked for and never destroyed; nil for other sizes,
  /// or when memory runs out.
  public func perCPUZone(bytes: Int) -> ZonePointer? {
    guard bytes >= 4, bytes <= 64, UInt(bytes).isPowerOfTwo else { return nil }
    let index = bytes.trailingZeroBitCount - 2
    func known() -> ZonePointer? {
      pointee.listLock.lock()
      defer { pointee.listLock.unlock() }
      return pointee.perCPUZones[index]
    }
    if let zone = known() { return zone }
    guard let new = makeZone(name: FixedName("pcpu-").appending(number: bytes), size: bytes, alignMask: bytes - 1, flags: .perCPU)
    else { return known() }
    pointee.listLock.lock()
    let first = pointee.perCPUZones[index]
    if first == nil { pointee.perCPUZones[index] = new }
    pointee.listLock.unlock()
    guard let first else { return new }
    new.destroy()
    return first
  }
}
