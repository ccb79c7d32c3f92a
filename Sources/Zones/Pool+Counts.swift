// SPDX-License-Identifier: BSD-2-Clause
//
// What a pool has counted, and the check of all of it.

import CPlatform
import Primitives

public struct PoolCounts {
  public var gets: Int64
  public var failures: Int64
  public var puts: Int64
  public var sleeps: Int64
  public var itemsOut: Int
  public var freeItems: Int
  public var pagesMade: Int
  public var pagesFreed: Int
  public var pages: Int
  public var mostPages: Int
  /// Empty pages.
  public var idlePages: Int
  /// Pages looked at by gets, puts and reclaims, and nodes of the tree by searches.
  public var steps: Int
}

extension Pool {
  /// Requests that sleep; as they change, one more or less.
  public var waiters: Int { returned.waiters + grown.waiters }
}

extension UnsafeMutablePointer where Pointee == Pool {
  /// All at one moment, but for pages that are on their way to the back-end.
  public var counts: PoolCounts {
    let zone = pointee.zone, keg = pointee.keg
    keg.pointee.lock.lock()
    defer { keg.pointee.lock.unlock() }
    return PoolCounts(
      gets: zone.pointee.directAllocations, failures: Int64(bitPattern: stave_load64(&zone.pointee.failures)), puts: zone.pointee.directFrees, sleeps: Int64(bitPattern: stave_load64(&zone.pointee.sleeps)),
      itemsOut: keg.outstanding, freeItems: keg.pointee.freeItems, pagesMade: keg.pointee.slabsMade, pagesFreed: Int(stave_load64(&pointee.pagesFreed)),
      pages: pages, mostPages: pointee.mostPages, idlePages: keg.pointee.freeSlabCount, steps: pointee.pageSteps + keg.pointee.treeSteps)
  }

  /// The lists, counts and colours of the keg, the order of empty pages, groups of caches. At rest only.
  public func checkInvariants() {
    let keg = pointee.keg
    keg.checkInvariants()
    keg.pointee.lock.lock()
    defer { keg.pointee.lock.unlock() }
    precondition(pointee.zone.pointee.directAllocations - pointee.zone.pointee.directFrees == Int64(keg.outstanding), "gets, puts and items out")
    precondition(keg.pointee.slabsMade - Int(stave_load64(&pointee.pagesFreed)) == pages, "pages made, freed and there")
    precondition(pointee.mostPages >= pages && pages >= pointee.primedPages, "number of pages")
    precondition(!pointee.isGrowing && pointee.wanting == 0, "somebody grows or waits")
    var latest = Int64.max
    var next = keg.pointee.free.first
    while let page = next {
      precondition(page.pointee.colour <= keg.pointee.colours, "colour")
      precondition(keg.tail(of: page).pointee.idleSince <= latest, "empty pages are not in order")
      latest = keg.tail(of: page).pointee.idleSince
      next = page.pointee.next
    }
    var cache = pointee.caches
    while let some = cache {
      var held = some.pointee.current?.pointee.count ?? 0
      var group = some.pointee.full
      while let one = group {
        precondition(one.pointee.count == PoolGroup.room, "a full group that is not full")
        held += one.pointee.count
        group = one.pointee.next
      }
      precondition(held == some.pointee.held && held <= keg.outstanding, "objects in groups")
      group = some.pointee.empty
      while let one = group {
        precondition(one.pointee.count == 0, "an empty group with objects")
        group = one.pointee.next
      }
      cache = some.pointee.next
    }
  }
}
