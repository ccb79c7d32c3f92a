// SPDX-License-Identifier: BSD-2-Clause
//
// The locks of the zone system around fork; a pool's is its keg's. Kegs of headers and buckets come after all others, as their rank says.

import CPlatform
import Pages
import Primitives

public func lockZonesForFork() {
  zones.pointee.reclaimLock.lock()
  zones.pointee.regionLock.lock()
  if CPUCache.isLocked { CPUCache.forEachRegion { CPUCache.lock(of: $0).pointee.lockUnchecked() } }
  zones.pointee.listLock.lock()
  forEachZoneUnlocked { $0.pointee.depotLock.lockUnchecked() }
  forEachKeg(isInternal: false) { $0.pointee.lock.lockUnchecked() }
  forEachKeg(isInternal: true) { $0.pointee.lock.lockUnchecked() }
}

public func unlockZonesAfterFork(inChild: Bool) {
  if inChild {
    zones.pointee.pools.forks &+= 1
    forEachKeg(isInternal: false) { $0.pointee.pool?.forgetOthers() }
  }
  func release(_ lock: borrowing FutexLock) { if inChild { lock.resetUnchecked() } else { lock.unlockUnchecked() } }
  forEachKeg(isInternal: true) { release($0.pointee.lock) }
  forEachKeg(isInternal: false) { release($0.pointee.lock) }
  forEachZoneUnlocked {
    release($0.pointee.depotLock)
    if inChild {
      $0.forgetAction()
      $0.pointee.isReclaimed = 0
      $0.forgetWaiters()
    }
  }
  if inChild, let registry = zones.pointee.smr { registry.pointee.resumeInChild() }
  if inChild {
    zones.forgetWorker()
    events.forgetCalls()
  }
  if inChild { zones.pointee.listLock.resetInChild() } else { zones.pointee.listLock.unlock() }
  if CPUCache.isLocked { CPUCache.forEachRegion { release(CPUCache.lock(of: $0).pointee) } }
  if inChild { zones.pointee.regionLock.resetInChild() } else { zones.pointee.regionLock.unlock() }
  if inChild { zones.pointee.reclaimLock.resetInChild() } else { zones.pointee.reclaimLock.unlock() }
}

private func forEachZoneUnlocked(_ body: (ZonePointer) -> Void) {
  var next = zones.pointee.first
  while let zone = next {
    body(zone)
    next = zone.pointee.next
  }
}

private func forEachKeg(isInternal: Bool, _ body: (KegPointer) -> Void) {
  for index in 1..<max(1, zones.pointee.kegCount) {
    guard let keg = stave_kegs()[index]?.assumingMemoryBound(to: Keg.self) else { continue }
    if keg.pointee.flags.contains(.internal) == isInternal { body(keg) }
  }
}
