// SPDX-License-Identifier: BSD-2-Clause
//
// Looking at all zones from inside the process: under the list's lock, since a zone that somebody destroys meanwhile must not
// be read after its memory has gone (L40). What is done under the lock must be short.

import Primitives

/// Calls `body` with each zone, newest first. The list lock is held throughout.
public func forEachListedZone(_ body: (ZonePointer) -> Void) {
  zones.pointee.listLock.lock()
  var next = zones.pointee.first
  while let zone = next {
    body(zone)
    next = zone.pointee.next
  }
  zones.pointee.listLock.unlock()
}

/// Calls `body` with the zone at `position` in the list, under its lock; false if there are not so many. For those who do
/// something long between two zones: one that appears or goes meanwhile may make them miss one, or meet one twice.
public func withListedZone(at position: Int, _ body: (ZonePointer) -> Void) -> Bool {
  zones.pointee.listLock.lock()
  defer { zones.pointee.listLock.unlock() }
  var next = zones.pointee.first
  var left = position
  while left > 0, let zone = next {
    next = zone.pointee.next
    left -= 1
  }
  guard let zone = next else { return false }
  body(zone)
  return true
}
