// SPDX-License-Identifier: BSD-2-Clause
//
// Allocation: the fast path, and what lies behind it.

import Diagnostics
import Accounting
import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

public enum Heap {
  /// malloc: memory for `size` bytes, aligned to 16, or nil. A size of 0 gives a distinct block. The fast path is one
  /// table look-up and one restartable section; it has no branch but the two to `allocateSlow`.
  @inline(__always)
  public static func allocate(_ size: UInt) -> UnsafeMutableRawPointer? {
    guard let item = pop(size) else { return allocateSlow(size) }
    return item
  }

  /// What this CPU's cache has for the size; nil if it has nothing, or must not be asked.
  @inline(__always)
  public static func pop(_ size: UInt) -> UnsafeMutableRawPointer? {
    let hot = stave_hot()
    guard _fastPath(UInt64(size) < hot.pointee.small_limit) else { return nil }
    let cell = UInt64(stave_size_table()[Int(truncatingIfNeeded: (size &+ 15) >> 4)])
    return stave_pop(cell &* 32)
  }

  @inline(never)
  static func allocateSlow(_ size: UInt) -> UnsafeMutableRawPointer? { allocateSlow(size, type: nil) }

  /// Behind the fast path: for whom is `caller`'s affair, where memory is counted for callers.
  public static func allocate(_ size: UInt, for caller: Frame) -> UnsafeMutableRawPointer? {
    guard let type = type(of: caller) else { return allocateSlow(size, type: nil) }
    return allocate(size, type: type)
  }

  /// Of a type's zones, or of malloc's.
  @inline(never)
  static func allocateSlow(_ size: UInt, type: TypePointer?) -> UnsafeMutableRawPointer? {
    guard heap.isReady || heap.start() else { return stave_no_memory() }
    followTracers()
    let memory = obtain(size, type: type)
    if isTraced, let memory { traceAllocation(memory, size) }
    return memory
  }

  @inline(__always)
  private static func obtain(_ size: UInt, type: TypePointer?) -> UnsafeMutableRawPointer? {
    if heap.pointee.options[.failureRate] > 0 && injectsFailure() { return refuse(type) }
    if let memory = allocateOnce(size, type) { return memory }
    guard isWorthReclaiming(size) else { return fail(type) }
    reclaimAll(.drainCPU)
    if let memory = allocateOnce(size, type) { return memory }
    arena.purge(recentToo: true)
    arena.waitForPurges()
    return allocateOnce(size, type) ?? fail(type)
  }

  /// A large block, after giving up all caches if need be: what they hold may be enough, or what cached runs and the gaps
  /// between them make together; after that there is nothing left to try.
  private static func takeLarge(_ size: UInt, alignment: UInt = 1, type: TypePointer? = nil) -> LargeBlock? {
    let number = type?.pointee.number ?? 0
    if let block = arena.takeLarge(size: size, alignment: alignment, type: number) { return block }
    guard isWorthReclaiming(size, alignment: alignment) else { return nil }
    reclaimAll(.drainCPU)
    arena.purge(recentToo: true)
    arena.waitForPurges()
    return arena.takeLarge(size: size, alignment: alignment, type: number)
  }

  /// What cannot be had whatever is given up, more than the window has beside large blocks, than the limit of address space or
  /// than twice the machine's memory, must not cost everybody's caches.
  static func isWorthReclaiming(_ size: UInt, alignment: UInt = 1) -> Bool {
    let window = arena.pointee.windowEnd - arena.pointee.windowStart
    let taken = arena.pointee.largeBytes + arena.pointee.foreignBytes
    guard taken < window, size <= window - taken, alignment <= window else { return false }
    return UInt64(size) <= stave_address_space_limit() && size / 2 <= UInt(stave_memory_bytes())
  }

  /// For want of memory.
  static func fail(_ type: TypePointer?) -> UnsafeMutableRawPointer? {
    stave_add(&heap.pointee.failures, 1)
    return refuse(type)
  }

  /// For whatever reason. errno = ENOMEM.
  static func refuse(_ type: TypePointer?) -> UnsafeMutableRawPointer? {
    if let type { stave_add(&type.pointee.failures, 1) }
    return stave_no_memory()
  }

  private static func allocateOnce(_ size: UInt, _ type: TypePointer?) -> UnsafeMutableRawPointer? {
    if size > UInt(SizeClass.largest) {
      guard let block = arena.takeLarge(size: size, type: type?.pointee.number ?? 0) else { return nil }
      noteSize(size, of: block)
      return UnsafeMutableRawPointer(bitPattern: block.start)
    }
    let index = SizeClass.index(for: Int(size))
    // A type that gets no zone has its memory from malloc's: better uncounted than refused.
    guard let zone = type?.zone(index) ?? heap.zone(index) else { return nil }
    noteSlowCall()
    guard heap.pointee.options[.sizes] != 0 else { return zone.allocateSlow(.noWait, argument: nil) }
    guard let memory = zone.allocateSlow(.noWait, argument: nil) else { return nil }
    sizeHistogram.count(size, given: UInt(zone.pointee.size), isLarge: false)
    return memory
  }

  private static func noteSize(_ size: UInt, of block: LargeBlock) {
    if heap.pointee.options[.sizes] != 0 { sizeHistogram.count(size, given: arena.largeBytes(at: block.start) ?? size, isLarge: true) }
  }

  static func injectsFailure() -> Bool {
    let rate = heap.pointee.options[.failureRate]
    guard rate > 0 else { return false }  // set to 0 a moment ago
    let calls = Int64(heap.pointee.injectableCalls.wrappingAdd(1, ordering: .relaxed).newValue)
    guard calls % rate == 0 else { return false }
    stave_add(&heap.pointee.injectedFailures, 1)
    return true
  }

  /// calloc: zeroed. Blocks fresh from the system are not cleared again.
  public static func allocateZeroed(_ size: UInt, type: TypePointer? = nil) -> UnsafeMutableRawPointer? {
    guard size <= UInt(SizeClass.largest) else { return allocateLargeZeroed(size, type: type) }
    guard let memory = type == nil ? allocate(size) : allocate(size, type: type!) else { return nil }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Int(size))
    return memory
  }

  static func allocateLargeZeroed(_ size: UInt, type: TypePointer?) -> UnsafeMutableRawPointer? {
    guard heap.isReady || heap.start() else { return stave_no_memory() }
    if heap.pointee.options[.failureRate] > 0 && injectsFailure() { return refuse(type) }
    guard let block = takeLarge(size, type: type), let memory = UnsafeMutableRawPointer(bitPattern: block.start) else {
      return fail(type)
    }
    noteSize(size, of: block)
    if !block.isZero { clear(memory, bytes: size) }
    if isTraced { traceAllocation(memory, size) }
    return memory
  }

  private static func clear(_ memory: UnsafeMutableRawPointer, bytes: UInt) {
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Int(bytes))
  }

  /// Memory at a multiple of `alignment`, a power of two.
  public static func allocate(_ size: UInt, alignment: UInt, type: TypePointer? = nil) -> UnsafeMutableRawPointer? {
    func allocate(_ size: UInt) -> UnsafeMutableRawPointer? { type == nil ? Heap.allocate(size) : Heap.allocate(size, type: type!) }
    if alignment <= 16 { return allocate(size) }
    guard heap.isReady || heap.start() else { return stave_no_memory() }
    if size <= UInt(SizeClass.largest), alignment <= UInt(SizeClass.largest),
      let index = SizeClass.index(for: Int(size), alignment: Int(alignment))
    {
      return allocate(UInt(SizeClass.size(index)))
    }
    if heap.pointee.options[.failureRate] > 0 && injectsFailure() { return refuse(type) }
    guard let block = takeLarge(max(size, 1), alignment: alignment, type: type), let memory = UnsafeMutableRawPointer(bitPattern: block.start)
    else { return fail(type) }
    noteSize(size, of: block)
    if isTraced { traceAllocation(memory, size) }
    return memory
  }
}
