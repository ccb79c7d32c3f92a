// SPDX-License-Identifier: BSD-2-Clause
//
// A zone of values of one Swift type: its making. Requests are in Zone+Allocate, owned items in Zone+Items, zones
// on others' slabs in Zone+Kegs, zones on an author's pages in PageSupply.

internal import Zones

/// A named cache of memory for values of one type, as UMA's zones are: allocation is a few instructions on this CPU's own stack of free
/// items, and `stave zones PID` shows what is in use, cached and failed.
///
///     let nodes = try Zone<Node>("nodes")
///     if let node = nodes.item(Node(key: 1)) {   // returns itself at the end of its scope
///       print(node.value.key)
///     }
///
/// Keep zones for long: one costs half a kilobyte, its first slab, and an entry in tables of some thousands. The fast path is shortest
/// from a constant of an object or of `main.swift`; a static constant adds Swift's check whether it has been initialised.
///
/// Nothing returns the free memory of zones automatically: call ``trimZones()`` when the program becomes idle.
///
/// Any thread may use a zone, and free what others have allocated. No call may come from a signal handler. A child of fork goes on with
/// its copy of the zone. If the object ends while items are out, that is reported on standard error; the items stay valid, and their
/// memory is given back with the last of them.
///
/// Memory is that of Stave's core in this program, beside the program's malloc, and with its options (`STAVE_OPTIONS`).
public final class Zone<Element: ~Copyable>: AnyZone, @unchecked Sendable {
  /// A new zone. Some microseconds; the first one of a process sets the core up, a millisecond or two.
  ///
  /// - Parameters:
  ///   - name: What the tools show: of its UTF-8, 31 bytes.
  ///   - flags: What is special about it.
  ///   - limit: How many items there may be, out and cached; 0 for any number. See ``AnyZone/limit``.
  ///   - reserve: The last free items, this many, are for requests with ``ZoneRequest/useReserve`` only.
  ///   - preallocated: The slabs for this many items are made now.
  ///   - addresses: Reserves addresses for this many items, which is also the most that there can be; 0 for none. Slabs then stay until
  ///     the zone ends.
  /// - Throws: ``ZoneError/outOfMemory``, or ``ZoneError/impossible`` if there can be no such zone.
  public init(
    _ name: String, flags: ZoneFlags = [], limit: Int = 0, reserve: Int = 0, preallocated: Int = 0, addresses: Int = 0
  ) throws(ZoneError) {
    super.init(try makeCore(Element.self, name, flags) { makeZone(name: $0, size: $1, alignMask: $2, flags: flags.core) })
    if reserve > 0 { core.setReserve(reserve) }
    if addresses > 0, !core.reserveAddresses(for: addresses) { throw .outOfMemory }
    if limit > 0 { core.setLimit(limit) }
    if preallocated > 0, !core.preallocate(preallocated, .noWait) { throw .outOfMemory }
  }

  init(_ core: ZonePointer, keeping companion: AnyObject, limit: Int) {
    super.init(core, companion: companion)
    if limit > 0 { core.setLimit(limit) }
  }
}
