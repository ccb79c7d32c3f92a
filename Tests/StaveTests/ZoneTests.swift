// SPDX-License-Identifier: BSD-2-Clause
//
// Zones as Swift has them: every way to a value, copyable or not, and back; kinds and flags; the end.

import Foundation
import Stave
import Testing

@testable import TestSupport

@Suite struct ZoneTests {
  @Test func `items of noncopyable values return themselves, by whatever way their life ends`() async {
    await #expect(processExitsWith: .success) {
      let zone = try Zone<Counted>("noncopyable")
      do {
        var item = zone.item(Counted(1))!
        item.value.number += 1
        precondition(item.value.number == 2 && zone.itemsInUse == 1 && living == 1)
        precondition(item.borrow { $0.number } == 2 && item.update { $0.number += 1; return $0.number } == 3)
        precondition(UInt(bitPattern: item.address) % 8 == 0 && item.address.pointee.number == 3)
      }
      precondition(zone.itemsInUse == 0 && living == 0)
      let value = zone.item(Counted(7))!.take()
      precondition(value.number == 7 && zone.itemsInUse == 0 && living == 1)
      let again = zone.item(value)!
      let element = again.release()
      precondition(zone.itemsInUse == 1 && living == 1 && element.pointee.number == 7)
      _ = zone.adopt(element)
      precondition(zone.itemsInUse == 0 && living == 0)
      precondition(zone.withItem(Counted(3)) { $0.number += 1; return $0.number } == 4)
      precondition(zone.itemsInUse == 0 && living == 0)
      do {
        _ = try zone.withItem(Counted(3)) { (_: inout Counted) throws(Broken) -> Int in throw Broken() }
        preconditionFailure("it throws")
      } catch { precondition(zone.itemsInUse == 0 && living == 0) }
      do throws(Broken) {
        _ = try zone.item { () throws(Broken) -> Counted in throw Broken() }
        preconditionFailure("it throws")
      } catch { precondition(error == Broken() && zone.itemsInUse == 0 && living == 0) }
      do {
        let item = zone.item { Counted(9) }!
        precondition(item.value.number == 9 && living == 1)
      }
      precondition(living == 0 && zone.failures == 0)
      zone.checkInvariants()
    }
  }

  @Test func `items of copyable values and of values of no bytes`() async {
    await #expect(processExitsWith: .success) {
      let zone = try Zone<Copied>("copyable")
      do {
        var item = zone.item(Copied(number: 1))!
        let copy = item.value
        item.value.number = 2
        precondition(copy.number == 1 && item.value.number == 2 && living == 1)
      }
      precondition(living == 0 && zone.itemsInUse == 0)
      precondition(zone.item(Copied(number: 5))!.take().number == 5 && living == 0)
      let nothing = try Zone<Void>("nothing")
      let one = nothing.item(())!, two = nothing.item(())!
      precondition(one.address != two.address && nothing.itemsInUse == 2)
      struct Wide { var line: (SIMD64<UInt8>, Int) = (.zero, 1) }
      let wide = try Zone<Wide>("wide")
      for _ in 0..<100 { precondition(UInt(bitPattern: wide.allocate()!) % UInt(MemoryLayout<Wide>.alignment) == 0) }
      let huge = try Zone<InlineArray<100_000, UInt8>>("huge")
      let block = huge.allocate(.zero)!
      precondition(block.pointee[99_999] == 0)
      huge.free(block)
      for case let zone as AnyZone in [zone, nothing, huge] as [Any] { zone.checkInvariants() }
      for _ in 0..<100 { precondition(wide.name == "wide") }
      _exit(0)  // wide's are out
    }
  }

  @Test func `memory for who manages values alone`() async {
    await #expect(processExitsWith: .success) {
      let zone = try Zone<Counted>("memory", preallocated: 100)
      var held = (0..<1000).map { _ in zone.allocate()! }
      // What is freed is not zero.
      for element in held { UnsafeMutableRawPointer(element).storeBytes(of: 77, as: Int.self) }
      for element in held { zone.free(element) }
      held = []
      for number in 0..<1000 {
        let element = zone.allocate(number % 2 == 0 ? [] : [.wait, .zero])!
        if number % 2 == 1 { precondition(element.pointee.number == 0) }
        element.initialize(to: Counted(number))
        held.append(element)
      }
      precondition(Set(held).count == 1000 && living == 1000 && zone.itemsInUse == 1000)
      for (number, element) in held.enumerated() { precondition(element.move().number == number) }
      for element in held { zone.free(element) }
      precondition(living == 0 && zone.itemsInUse == 0)
      zone.trim()
      precondition(zone.itemsCached == 0)
      zone.checkInvariants()
    }
  }

  @Test func `zones that cannot be are refused, and a limit gives nil`() async {
    await #expect(processExitsWith: .success) {
      do throws(ZoneError) {
        _ = try Zone<Int>("contradictory", flags: [.noTouch, .zeroedSlabs])
        preconditionFailure("it cannot be")
      } catch { precondition(error == .impossible) }
      do throws(ZoneError) {
        _ = try DeferredZone<Int>("deferred", readers: ReadSections(), flags: .firstTouch)
        preconditionFailure("it cannot be")
      } catch { precondition(error == .impossible) }
      let zone = try Zone<Counted>("small", limit: 2)
      do {
        let one = zone.item(Counted(1)), two = zone.item(Counted(2)), three = zone.item(Counted(3))
        precondition(one != nil && two != nil && three == nil && living == 2 && zone.isAtLimit && zone.failures == 1)
        zone.limit = 3
        precondition(zone.limit == 3 && zone.item(Counted(4)) != nil)
      }
      precondition(living == 0 && zone.itemsInUse == 0)
      zone.checkInvariants()
    }
  }

  @Test func `flags of every kind give working zones`() async {
    await #expect(processExitsWith: .success) {
      let kinds: [ZoneFlags] = [
        .zeroedSlabs, .offPage, .neverReturned, .largestCaches, .noCaches, .referenceCounts, .spread, .noTouch, .noDump, .keepsCaches,
        [.offPage, .noDump, .largestCaches],
      ]
      for flags in kinds {
        let zone = try Zone<InlineArray<12, Int>>("flags", flags: flags)
        let items = (0..<500).map { _ in zone.allocate()! }
        precondition(Set(items).count == 500)
        if flags == .zeroedSlabs { for item in items { precondition(item.pointee[11] == 0) } }
        if flags == .referenceCounts {
          let count = zone.referenceCount(of: items[7])
          precondition(count.pointee == 0)
          count.pointee = 5
          zone.free(items[7])
          precondition(zone.referenceCount(of: items[7]).pointee == 5)
          precondition(zone.allocate() == items[7])
        }
        for item in items { zone.free(item) }
        precondition(zone.itemsInUse == 0)
        trimZones()
        zone.checkInvariants()
      }
      let placed = try Zone<Int>("placed", addresses: 100)
      precondition(placed.limit >= 100)
      let reserve = try Zone<Int>("reserve", reserve: 3)
      let item = reserve.allocate(.useReserve)!
      reserve.free(item)
    }
  }

  @Test func `zones on the slabs of another have caches and figures of their own`() async {
    await #expect(processExitsWith: .success) {
      var first: Zone<Counted>? = try Zone<Counted>("primary")
      let second = try Zone("secondary", on: first!)
      do {
        let one = first!.item(Counted(1))!, two = second.item(Counted(2))!
        // Of the same slab.
        precondition(one.address != two.address && UInt(bitPattern: one.address) >> 12 == UInt(bitPattern: two.address) >> 12)
        precondition(first!.itemsInUse == 1 && second.itemsInUse == 1)
      }
      let was = second.allocate()!
      second.free(was)
      second.trim()
      // Back in the common slabs, where the other zone finds it.
      var found = false
      var held: [UnsafeMutablePointer<Counted>] = []
      for _ in 0..<1000 where !found {
        held.append(first!.allocate()!)
        found = held.last == was
      }
      precondition(found)
      for element in held { first!.free(element) }
      first!.checkInvariants()
      // The zone below lives as long as the one on it.
      weak let below = first
      first = nil
      precondition(below != nil)
      precondition(second.item(Counted(3))!.take().number == 3)
    }
  }

  @Test func `a zone that goes while items are out says so, and the items stay good`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      _ = try Zone<Int>("first")
      let zonesBefore = zoneCount
      var zone: Zone<Counted>? = try Zone<Counted>("abandoned")
      let one = zone!.item(Counted(1))!
      var two: ZoneItem<Counted>? = zone!.item(Counted(2))!
      zone = nil
      precondition(one.value.number == 1 && living == 2)
      // Another zone, made meanwhile, gets other memory.
      do {
        let other = try Zone<Counted>("other")
        for number in 0..<1000 { precondition(other.item(Counted(number)) != nil) }
      }
      precondition(one.value.number == 1 && two!.value.number == 2)
      two = nil
      precondition(living == 1)
      do {
        let value = one.take()
        precondition(value.number == 1)
      }
      precondition(living == 0 && zoneCount == zonesBefore + 1)
      // Both are back: the next zone that is made finds that, and the memory goes.
      _ = try Zone<Counted>("third")
      precondition(zoneCount == zonesBefore, "\(zoneCount)")
    }
    let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(said.contains("zone given up with items out: abandoned: 2 items") && said.split(separator: "\n").count == 1, "\(said)")
  }

  @Test func `a free into another zone is reported with the zone that the item is of`() async {
    for flags in [.noCaches, [.noCaches, .offPage]] as [ZoneFlags] {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) { [raw = flags.rawValue as UInt32] in
        let owner = try Zone<Int>("the owner", flags: ZoneFlags(rawValue: raw))
        let called = try Zone<Int>("the other", flags: ZoneFlags(rawValue: raw))
        precondition(called.allocate() != nil)
        called.free(owner.allocate()!)
      }
      let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(said.contains("in zone the owner, freed to zone the other\n") && said.contains("the item at"), "\(said)")
    }
  }

  @Test func `a second free is reported`() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let zone = try Zone<Int>("twice")
      let element = zone.allocate()!
      zone.free(element)
      zone.free(element)
    }
    let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(said.contains("double free") && said.contains("twice"), "\(said)")
  }

  @Test func `a child of fork goes on with its zones`() async {
    await #expect(processExitsWith: .success) {
      let zone = try Zone<Counted>("forked")
      let item = zone.item(Counted(1))!
      let child = libcFork()
      if child == 0 {
        guard item.value.number == 1, zone.itemsInUse == 1 else { _exit(2) }
        for number in 0..<10_000 {
          guard let item = zone.item(Counted(number)), item.value.number == number else { _exit(3) }
        }
        guard let other = try? Zone<Counted>("of the child"), other.item(Counted(5)) != nil else { _exit(4) }
        // No lock of the fork's is left over, which its own thread would not meet.
        inThreads(1) { _ in
          guard let third = try? Zone<Counted>("of its thread"), third.item(Counted(6)) != nil else { _exit(6) }
          trimZones()
        }
        _exit(zone.itemsInUse == 1 ? 0 : 5)
      }
      let status = await ending(of: child)
      precondition(status == 0, "status \(status)")
      precondition(item.value.number == 1)
    }
  }

  @Test func `a value for every CPU`() async {
    await #expect(processExitsWith: .success) {
      let zone = try PerCPUZone<Counted>("per CPU")
      do {
        let item = zone.item { Counted(3) }!
        precondition(living == item.count && item.here.number == 3 && zone.itemsInUse == 1)
        var sum = 0
        item.forEach { sum += $0.number }
        precondition(sum == 3 * item.count)
      }
      precondition(living == 0 && zone.itemsInUse == 0)
    }
  }
}
