// SPDX-License-Identifier: BSD-2-Clause
//
// Zones on the slabs of others: on one other zone's, and over several zones'.

internal import Zones

extension Zone where Element: ~Copyable {
  /// A zone with caches, counters and a limit of its own on the slabs of another, such as one for each kind of user of the same memory.
  /// Items go back to the common slabs when caches are emptied. The other zone lives as long as this one. Of `flags` only those that
  /// concern caches count: ``ZoneFlags/largestCaches``, ``ZoneFlags/noCaches`` and ``ZoneFlags/keepsCaches``; others are ignored.
  ///
  /// ```swift
  /// struct Request { var number = 0 }
  /// let requests = try Zone<Request>("requests")
  /// let urgent = try Zone("urgent requests", on: requests)
  /// print(urgent.item(Request(number: 1)) != nil, requests.itemsInUse)   // true 0
  /// ```
  public convenience init(_ name: String, on other: Zone<Element>, flags: ZoneFlags = []) throws(ZoneError) {
    let core = try makeCore(Element.self, name, []) { name, _, _ in makeSecondaryZone(name: name, flags: flags.core, primary: other.core) }
    self.init(core, keeping: other, limit: 0)
  }

  /// A zone over the slabs of several others, up to four: where one has nothing left, the next is asked, and each item goes back to the
  /// slabs that it came from. For memory of different kinds behind one set of caches: a reserved range first, then what there is.
  ///
  /// ```swift
  /// struct Record { var words = (0, 0, 0, 0) }
  /// let near = try Zone<Record>("near", flags: .offPage, addresses: 1000)
  /// let far = try Zone<Record>("far", flags: .offPage)
  /// let records = try Zone("records", over: [near, far])
  /// var some = records.item(Record())
  /// some?.value.words.0 = 1
  /// ```
  ///
  /// The others must be zones whose slabs are found by their addresses: with ``ZoneFlags/offPage``, ``ZoneFlags/noTouch`` or
  /// ``ZoneFlags/spread``, and all or none with ``ZoneFlags/referenceCounts``. They live as long as this one. The limits of the others do
  /// not count here; the number of their `addresses:` does. Of `flags` only those that concern caches count, as with ``init(_:on:flags:)``.
  ///
  /// - Throws: ``ZoneError/impossible`` for no zones, for more than four, and for such as cannot go together.
  public convenience init(_ name: String, over zones: [Zone<Element>], flags: ZoneFlags = []) throws(ZoneError) {
    guard let first = zones.first, zones.count <= 4 else { throw .impossible }
    let core = try makeCore(Element.self, name, []) { name, _, _ in makeSecondaryZone(name: name, flags: flags.core, primary: first.core) }
    for other in zones.dropFirst() where core.addKeg(of: other.core) != .done {
      core.destroy()
      throw .impossible
    }
    self.init(core, keeping: Companions(all: zones), limit: 0)
  }
}
