// SPDX-License-Identifier: BSD-2-Clause
//
// The words by which a request and a free know that the cell is all there is to it: what opens and closes them.

import CPlatform
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct QuickTests {
    init() { Stage.up() }

    private var isOpen: Bool { !CPUCache.isLocked }

    @Test func `a plain zone's cell is had by one word, and what goes that way is counted like all else`() {
      let zone = makeTestZone("plain", 64)
      #expect((zone.pointee.quickCell != 0) == isOpen && (zone.pointee.quickFreeCell != 0) == isOpen)
      zone.free(zone.allocate())
      for _ in 0..<1000 {
        // Another CPU's cell may be empty.
        let item = zone.allocateQuickly() ?? zone.allocate()!
        check(zone, holding: 1)
        if !zone.freeQuickly(item) { zone.free(item) }
      }
      check(zone, holding: 0)
      // The same item twice is not pushed twice in a row.
      let item = zone.allocate()!
      if isOpen && zone.freeQuickly(item) { #expect(!zone.freeQuickly(item) || CPUCache.currentCPU == nil) }
      #expect(zone.destroy() == 0)
    }

    @Test func `hooks at each request, a zone without cells and one with deferred reuse keep both words closed`() {
      let hooked = makeTestZone("hooked", 64, hooks: ZoneHooks(constructor: { _, _, _, _ in 0 }))
      let ended = makeTestZone("ended", 64, hooks: ZoneHooks(destructor: { _, _, _ in }))
      let bare = makeTestZone("bare", 64, flags: .noBucket)
      let deferred = makeTestZone("deferred", 64, flags: .smr)
      for zone in [hooked, ended, bare, deferred] {
        #expect(zone.pointee.quickCell == 0 && zone.pointee.quickFreeCell == 0 && zone.allocateQuickly() == nil)
        zone.checkQuickness()
        #expect(zone.destroy() == 0)
      }
      let initialized = makeTestZone("initialized", 64, hooks: ZoneHooks(initialize: { _, _, _ in 0 }))
      #expect((initialized.pointee.quickCell != 0) == isOpen, "a hook of the slab is not one of the request")
      #expect(initialized.destroy() == 0)
    }

    @Test func `L34 while somebody waits for an item no free goes by the cell, and the next one does again`() {
      let zone = makeTestZone("awaited", 64)
      #expect(zone.setLimit(1) == 1)
      let item = zone.allocate()!
      withUnsafeMutablePointer(to: &Self.waiter) { waiter in
        waiter.initialize(to: ZoneWaiter())
        #expect(zone.enqueue(waiter) == nil)
        #expect(zone.pointee.quickFreeCell == 0 && !zone.freeQuickly(item))
        zone.checkLimit()
        zone.checkQuickness()
        #expect(zone.giveUp(waiter))
        #expect((zone.pointee.quickFreeCell != 0) == (isOpen && zone.pointee.cell != 0))
      }
      zone.free(item)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    nonisolated(unsafe) private static var waiter = ZoneWaiter()
  }

  /// MemGuard stays for the process's life.
  @Suite struct QuickGuardTests {
    @Test func `guards close a zone's words while its requests are meant, and frees for good`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let early = makeTestZone("early", 64)
        let isOpen = !CPUCache.isLocked
        precondition((early.pointee.quickCell != 0) == isOpen)
        heap.pointee.options.values[Option.memguard.rawValue] = 1
        precondition(Heap.configureGuards())
        let late = makeTestZone("late", 64)
        for zone in [early, late] {
          precondition(zone.pointee.quickCell == 0 && zone.pointee.quickFreeCell == 0)
          check(zone, holding: 0)
        }
        let guarded = early.allocate()!
        precondition(early.pointee.guardedItems == 1 && !early.freeQuickly(guarded))
        heap.pointee.options.values[Option.memguard.rawValue] = 0
        precondition(Heap.configureGuards())
        for zone in [early, late] { precondition((zone.pointee.quickCell != 0) == isOpen && zone.pointee.quickFreeCell == 0) }
        early.free(guarded)
        precondition(early.pointee.guardedItems == 0 && early.destroy() == 0 && late.destroy() == 0)
      }
    }
  }
}
