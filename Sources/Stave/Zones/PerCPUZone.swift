// SPDX-License-Identifier: BSD-2-Clause
//
// Values that every CPU has one of: counters and statistics that many threads write and few read.

internal import Zones
internal import CPlatform

/// A zone in which each item has a value for every CPU, so that threads on different CPUs write to different cache lines.
///
///     let counters = try PerCPUZone<Atomic<Int>>("counters")
///     let requests = counters.item { Atomic(0) }!
///     requests.here.add(1, ordering: .relaxed)
///     var sum = 0
///     requests.forEach { sum += $0.load(ordering: .relaxed) }
///
/// A thread may be moved to another CPU at any time, so two threads may use the same value: it must be safe to share, such as an `Atomic`.
public final class PerCPUZone<Element: ~Copyable & Sendable>: AnyZone, @unchecked Sendable {
  /// A new zone. Items of one zone share pages; the zone uses at least a page for each CPU.
  public init(_ name: String, limit: Int = 0) throws(ZoneError) {
    let core = try makeCore(Element.self, name, ZoneFlags(rawValue: Zones.ZoneFlags.perCPU.rawValue)) {
      makeZone(name: $0, size: $1, alignMask: $2, flags: .perCPU)
    }
    super.init(core)
    if limit > 0 { core.setLimit(limit) }
  }

  /// A value for every CPU, each made by `make`; nil when there is no memory or the limit is met. Takes a lock, and never waits for memory
  /// or at the limit.
  public func item(_ make: () -> Element) -> PerCPUItem<Element>? {
    guard let item = core.allocatePerCPU() else { return nil }
    for cpu in 0..<perCPUCopies { perCPUCopy(of: item, cpu: cpu).initializeMemory(as: Element.self, to: make()) }
    return PerCPUItem(item: item, home: home)
  }
}

/// A value for every CPU, with one owner. At the end of its life all of them are deinitialised and their memory is freed.
public struct PerCPUItem<Element: ~Copyable & Sendable>: ~Copyable, @unchecked Sendable {
  fileprivate let item: UnsafeMutableRawPointer
  fileprivate let home: HomePointer

  deinit {
    for cpu in 0..<perCPUCopies { element(cpu).deinitialize(count: 1) }
    let item = item
    home.whileBusy { $0.freePerCPU(item) }
  }

  private func element(_ cpu: Int) -> UnsafeMutablePointer<Element> { perCPUCopy(of: item, cpu: cpu).assumingMemoryBound(to: Element.self) }

  /// The value of the CPU that this thread runs on, or has just run on.
  public var here: Element { unsafeAddress { UnsafePointer(element(CPUCache.currentCPU ?? 0)) } }

  /// How many values there are: one more than the largest number of a CPU.
  public var count: Int { perCPUCopies }

  /// Calls `body` with each of them.
  public func forEach<Failure: Error>(_ body: (borrowing Element) throws(Failure) -> Void) throws(Failure) {
    for cpu in 0..<perCPUCopies { try body(element(cpu).pointee) }
  }
}
