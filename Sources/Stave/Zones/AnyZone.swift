// SPDX-License-Identifier: BSD-2-Clause
//
// What all kinds of zones have: a zone of the core, its figures, and its end. Limits are in AnyZone+Limit.

internal import CPlatform
internal import Heap
internal import Own
internal import Pages
internal import Primitives
public import Zones

/// A zone of whatever kind: ``Zone``, ``ObjectCache``, ``HandleCache``, ``PerCPUZone``, ``DeferredZone``.
///
///     let nodes = try Zone<Node>("nodes"), requests = try Zone<Request>("requests")
///     for zone in [nodes, requests] as [AnyZone] { print(zone.name, zone.itemsInUse) }
public class AnyZone: @unchecked Sendable {
  // Unchecked: what the core does with a zone is safe in all threads.
  @usableFromInline final let core: ZonePointer
  @usableFromInline final let cell: UInt64
  @usableFromInline final let home: HomePointer

  init(_ core: ZonePointer, companion: AnyObject? = nil) {
    self.core = core
    home = .make(core, companion: companion)
    cell = home.pointee.cell
  }

  deinit { home.giveUp() }

  /// As it was given, up to 31 bytes.
  public final var name: String { String(decoding: (0..<core.pointee.name.count).map { core.pointee.name.bytes[$0] }, as: UTF8.self) }

  /// Items in use. Exact when no other thread is allocating or freeing at this moment. Costs a few loads for each CPU.
  public final var itemsInUse: Int { core.itemsOut }
  /// Free items in caches, approximately.
  public var itemsCached: Int { Int(ZoneCounts(core).cached) + max(0, core.depotItemsInAll) }
  /// Requests that got nothing.
  public final var failures: Int { Int(stave_load64(&core.pointee.failures)) }
  /// Requests that had to wait.
  public final var waits: Int { Int(stave_load64(&core.pointee.sleeps)) }

  /// Gives back what the caches hold: items to their slabs, and slabs without an item in use to the system. Costs a membarrier for each
  /// CPU whose cache holds something. Objects of an ``ObjectCache`` end in this thread.
  public func trim() {
    core.reclaim(.drainCPU)
    arena.purge(recentToo: true)
  }

  func limitHasChanged() {}

  /// What must hold when no thread is in the zone: for tests. Ends the process where it does not.
  public final func checkInvariants() {
    core.pointee.keg.checkInvariants()
    core.checkLimit()
    core.checkDeferral()
    core.checkDomains()
  }
}

/// Gives back all free memory of this program's zones: what caches hold (but for zones with ``ZoneFlags/keepsCaches``), slabs, pages.
/// Nothing else does so while there is memory: call it when the program becomes idle. Returns the number of bytes given back. Objects of
/// caches end in this thread.
@discardableResult
public func trimZones() -> Int {
  HomesGivenUp.sweep()
  return Int(Heap.trim())
}

/// The core's zone for values of a type, whatever its kind; starts the core.
func makeCore<Element: ~Copyable>(
  _: Element.Type, _ name: String, _ flags: ZoneFlags, _ make: (_ name: FixedName, _ size: Int, _ alignMask: Int) -> ZonePointer?
) throws(ZoneError) -> ZonePointer {
  guard Heap.startOwn() else { throw .outOfMemory }
  HomesGivenUp.sweep()
  // Values may be of no bytes; items begin 8 bytes from each other at least.
  let size = max(1, MemoryLayout<Element>.size), alignMask = max(8, MemoryLayout<Element>.alignment) - 1
  let layout = SlabLayout.choose(size: size, alignMask: alignMask, flags: flags.core, pageBytes: pageBytes, cpuCount: perCPUCopies)
  guard layout != nil else { throw .impossible }
  guard let core = name.withCString({ make(FixedName(cString: $0), size, alignMask) }) else { throw .outOfMemory }
  return core
}
