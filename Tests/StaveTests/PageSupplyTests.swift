// SPDX-License-Identifier: BSD-2-Clause
//
// Pages of the author's own: zones on them, pools that share them, each page refused in turn, and what goes back at the end.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

/// Pages of which at most so many bytes are out; it knows each.
private final class Quota: PageSupply {
  private struct State {
    var left: Int
    var out: [UInt: Int] = [:]
    var asked = 0
    /// The request of this number is refused.
    var refused = Int.max
  }
  private let state: Mutex<State>

  init(_ byteCount: Int) { state = Mutex(State(left: byteCount)) }

  var bytesOut: Int { state.withLock { $0.out.values.reduce(0, +) } }
  var asked: Int { state.withLock { $0.asked } }
  func refuse(_ number: Int) {
    state.withLock {
      $0.asked = 0
      $0.refused = number
    }
  }

  func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer? {
    let address = state.withLock { state -> UInt in
      state.asked += 1
      guard state.asked != state.refused, state.left >= byteCount else { return 0 }
      state.left -= byteCount
      let pages = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: alignment)
      pages.initializeMemory(as: UInt8.self, repeating: 0xa5, count: byteCount)
      state.out[UInt(bitPattern: pages)] = byteCount
      return UInt(bitPattern: pages)
    }
    return UnsafeMutableRawPointer(bitPattern: address)
  }

  func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int) {
    let address = UInt(bitPattern: pages)
    state.withLock { state in
      precondition(state.out.removeValue(forKey: address) == byteCount, "pages that are not out")
      state.left += byteCount
    }
    pages.deallocate()
  }
}

@Suite struct PageSupplyTests {
  @Test func `pools lie in shared pages of whatever small alignment`() async {
    await #expect(processExitsWith: .success) {
      _ = try Pool<Int>("begins")
      let backEnds = backEndCount
      for alignment in [1, 2, 4, 8, 16] {
        let quota = Quota(1 << 20)
        do {
          let pages = try SharedPages(quota, pageByteCount: 4096, alignment: alignment)
          let pool = try Pool<UInt32>("narrow", pages: pages), wide = try Pool<SIMD2<Int64>>("wide", pages: pages)
          precondition(pool.item(5)!.value == 5 && wide.item([1, 2])!.value == [1, 2])
        }
        precondition(quota.bytesOut == 0 && backEndCount == backEnds)
      }
    }
  }

  @Test func `a zone lies in pages of a supply, which has them all back at the end`() async {
    await #expect(processExitsWith: .success) {
      try lieInSuppliedPages()
    }
  }

  @Test func `a zone goes on after each page that its supply refuses`() async {
    await #expect(processExitsWith: .success) {
      try refuseEachPage()
    }
  }

  @Test func `V14 a pool that gets no page has what lies idle in others on the same pages`() async {
    await #expect(processExitsWith: .success) {
      let quota = Quota(16 * 4096)
      do {
        let pages = try SharedPages(quota, pageByteCount: 4096)
        let one = try Pool<InlineArray<30, Int>>("one", pages: pages), two = try Pool<InlineArray<14, Int>>("two", pages: pages)
        var held: [UnsafeMutablePointer<InlineArray<30, Int>>] = []
        while let element = one.allocate() { held.append(element) }
        precondition(one.figures.pages == 16 && quota.bytesOut == 16 * 4096 && two.allocate() == nil && two.figures.failures == 1)
        for element in held { one.free(element) }
        held = []
        precondition(one.figures.pages == 16 && one.figures.pagesFree == 16)
        // Each page that the second needs comes from the first.
        let others = (0..<100).map { _ in two.allocate()! }
        precondition(Set(others).count == 100 && one.figures.pages < 16 && quota.bytesOut <= 16 * 4096)
        for element in others { two.free(element) }
        one.checkInvariants()
        two.checkInvariants()
      }
      precondition(quota.bytesOut == 0)
    }
  }

  @Test func `tasks that wait for pages go on when another pool can spare one`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let quota = Quota(4096)
      let pages = try SharedPages(quota, pageByteCount: 4096)
      let one = try Pool<Counted>("has it", pages: pages), two = try Pool<Counted>("wants it", pages: pages)
      var held = one.item(Counted(1))
      precondition(held != nil)
      // Nobody returns an item before all have one.
      let tasks = (0..<5).map { number in Task { UInt(bitPattern: try! await two.itemWhenFree(Counted(number)).release()) } }
      demand(await comesTrue { two.figures.waits == 5 })
      held = nil
      for (number, task) in tasks.enumerated() {
        let element = UnsafeMutablePointer<Counted>(bitPattern: await task.value)!
        demand(two.adopt(element).take().number == number)
      }
      precondition(two.figures.failures == 0)
    }
  }

  @Test func `pages that cannot be are refused`() async {
    await #expect(processExitsWith: .success) {
      try refuseImpossiblePages()
    }
  }
}

private func lieInSuppliedPages() throws {
  let quota = Quota(1 << 20)
  do {
    let zone = try Zone<Counted>("supplied", pages: quota)
    var held = (0..<5000).map { number in zone.item(Counted(number))!.release() }
    precondition(Set(held).count == 5000 && quota.bytesOut >= 40_000 && living == 5000)
    for (number, element) in held.enumerated() { precondition(element.pointee.number == number) }
    for element in held { _ = zone.adopt(element) }
    held = []
    zone.trim()
    precondition(quota.bytesOut == 0 && living == 0)
    zone.checkInvariants()
    precondition(zone.item(Counted(1)) != nil)
  }
  precondition(quota.bytesOut == 0)
  // Theirs are not.
  let zeroed = try Zone<InlineArray<4, Int>>("zeroed", pages: quota, flags: .zeroedSlabs)
  for _ in 0..<500 {
    let words = zeroed.allocate()!.pointee
    precondition((0..<4).allSatisfy { words[$0] == 0 })
  }
  let told = try Zone<InlineArray<4, UInt8>>("told so", pages: quota, areZero: true, flags: .zeroedSlabs)
  precondition(told.allocate()!.pointee[3] == 0xa5)
  let aligned = try Zone<InlineArray<3, SIMD2<Double>>>("aligned", pages: quota)
  for _ in 0..<100 { precondition(UInt(bitPattern: aligned.allocate()!) % 16 == 0) }
  do throws(ZoneError) {
    _ = try Zone<Int>("counts", pages: quota, flags: .referenceCounts)
    preconditionFailure("it cannot be")
  } catch { precondition(error == .impossible) }
}

private func refuseEachPage() throws {
  let quota = Quota(1 << 24)
  let zone = try Zone<InlineArray<40, Int>>("refused", pages: quota, flags: .noCaches)
  for number in 1...12 {
    quota.refuse(number)
    var held: [UnsafeMutablePointer<InlineArray<40, Int>>] = []
    while let element = zone.allocate() { held.append(element) }
    precondition(quota.asked == number && zone.itemsInUse == held.count)
    zone.checkInvariants()
    for element in held { zone.free(element) }
    zone.trim()
    precondition(quota.bytesOut == 0)
  }
  precondition(zone.failures == 12)
}

private func refuseImpossiblePages() throws {
  for (bytes, alignment) in [(100, 16), (4097, 16), (4096, 0), (4096, 48)] {
    do throws(ZoneError) {
      _ = try SharedPages(Quota(1), pageByteCount: bytes, alignment: alignment)
      preconditionFailure("they cannot be")
    } catch { precondition(error == .impossible) }
  }
  let narrow = try SharedPages(Quota(1 << 20), pageByteCount: 512, alignment: 8)
  // Nothing of Swift's is aligned more strictly than they are.
  let wide = try Pool<SIMD2<Double>>("wide", pages: narrow)
  precondition(UInt(bitPattern: wide.allocate()!) % 16 == 0)
  let pool = try Pool<InlineArray<100, Int>>("longer than a page", pages: narrow)
  let item = pool.item { InlineArray(repeating: 3) }!
  precondition(item.value[99] == 3)
}
