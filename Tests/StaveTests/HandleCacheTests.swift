// SPDX-License-Identifier: BSD-2-Clause
//
// Caches of handles: each is one's at a time, comes from the author and goes back there. And zones over several others.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

/// Numbers that are given out and taken back; it knows which are out.
private final class Numbers: Sendable {
  private struct State {
    var free: [Int32]
    var out: Set<Int32> = []
  }
  private let state: Mutex<State>

  init(_ count: Int32) { state = Mutex(State(free: Array(0..<count))) }

  var out: Int { state.withLock { $0.out.count } }

  func bring(_ room: UnsafeMutableBufferPointer<Int32>, most: Int) -> Int {
    let brought = state.withLock { state in
      let some = Array(state.free.suffix(min(most, room.count)))
      state.free.removeLast(some.count)
      state.out.formUnion(some)
      return some
    }
    for (index, number) in brought.enumerated() { room[index] = number }
    return brought.count
  }

  func takeBack(_ numbers: UnsafeBufferPointer<Int32>) {
    let numbers = Array(numbers)
    state.withLock { state in
      for number in numbers {
        precondition(state.out.remove(number) != nil, "a number that is not out")
        state.free.append(number)
      }
    }
  }
}

private func makeCache(_ numbers: Numbers, limit: Int = 0, flags: ZoneFlags = [], most: Int = 1000) throws -> HandleCache<Int32> {
  try HandleCache<Int32>("numbers", limit: limit, flags: flags) { room, _ in numbers.bring(room, most: most) } releasing: {
    numbers.takeBack($0)
  }
}

private final class HeldHandle {
  let handle: CachedHandle<Int32>
  init(_ handle: consuming CachedHandle<Int32>) { self.handle = handle }
}

@Suite struct HandleCacheTests {
  @Test func `handles of every size come, are cached, and go back`() async {
    await #expect(processExitsWith: .success) {
      let numbers = Numbers(1000)
      var cache: HandleCache<Int32>? = try makeCache(numbers)
      do {
        let first = cache!.handle()!
        precondition(first.value >= 0 && cache!.itemsInUse == 1 && numbers.out >= 1)
        let second = cache!.take()!
        precondition(second != first.value)
        cache!.put(second)
        let third = cache!.handle()!.release()
        cache!.put(third)
      }
      precondition(cache!.itemsInUse == 0 && cache!.itemsCached == numbers.out)
      cache!.trim()
      precondition(numbers.out == 0 && cache!.itemsCached == 0)
      precondition(cache!.handle() != nil)
      cache = nil
      precondition(numbers.out == 0)
      let bytes = try HandleCache<UInt8>("bytes") { room, _ in room[0] = 0; return 1 } releasing: { _ in }
      precondition(bytes.take() == 0)
      let pointers = try HandleCache<UnsafeMutablePointer<Int>>("pointers") { room, _ in
        for index in room.indices { room[index] = .allocate(capacity: 1) }
        return room.count
      } releasing: { for pointer in $0 { pointer.deallocate() } }
      do {
        let pointer = pointers.handle()!
        pointer.value.pointee = 5
        precondition(pointer.value.pointee == 5)
      }
      do throws(ZoneError) {
        _ = try HandleCache<(Int, Int)>("wide") { _, _ in 0 } releasing: { _ in }
        preconditionFailure("it cannot be")
      } catch { precondition(error == .impossible) }
      do throws(ZoneError) {
        _ = try HandleCache<Int>("flags", flags: .offPage) { _, _ in 0 } releasing: { _ in }
        preconditionFailure("it cannot be")
      } catch { precondition(error == .impossible) }
    }
  }

  @Test func `handles whose low bits are all ones are cached as others are`() async {
    await #expect(processExitsWith: .success) {
      for value in [5, 0xffff, 0x5ffff, -1] {
        let released = Mutex(0)
        let cache = try HandleCache<Int>("ones", limit: 0) { room, _ in room[0] = value; return 1 } releasing: { handles in
          released.withLock { $0 += handles.count }
        }
        for _ in 0..<1000 { cache.put(cache.take()!) }
        precondition(released.withLock { $0 } == 0 && cache.itemsCached == 1, "\(value)")
        cache.trim()
        precondition(released.withLock { $0 } == 1 && cache.itemsCached == 0)
      }
    }
  }

  @Test func `two handles that are equal are reported as one that is put twice, by its value`() async {
    for isWide in [false, true] {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) { [isWide = isWide as Bool] in
        if isWide {
          let cache = try HandleCache<Int>("equal") { room, _ in room[0] = 0x4d; return 1 } releasing: { _ in }
          do { let one = cache.handle(), two = cache.handle(); precondition(one != nil && two != nil) }
        } else {
          let cache = try HandleCache<Int32>("equal") { room, _ in room[0] = 0x4d; return 1 } releasing: { _ in }
          do { let one = cache.handle(), two = cache.handle(); precondition(one != nil && two != nil) }
        }
      }
      let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(said.contains("bad free: double free of handle 0x4d in zone equal"), "\(said)")
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func `random takes and puts agree with a model of who has which`(_ stream: UInt64) async {
    await #expect(processExitsWith: .success) { [stream] in
      var lot = Generator(980 + stream)
      let limit = lot.below(2) == 0 ? 0 : 20 + lot.below(200)
      let flags: [ZoneFlags] = [[], .largestCaches, .noCaches, .keepsCaches]
      let numbers = Numbers(300)
      let cache = try makeCache(numbers, limit: limit, flags: flags[lot.below(4)], most: 1 + lot.below(40))
      var held: [HeldHandle] = [], raw: [Int32] = []
      for step in 0..<Stage.steps(4000, soak: 1_000_000) {
        switch lot.below(9) {
        case 0...2: if let handle = cache.handle() { held.append(HeldHandle(handle)) }
        case 3: if let handle = cache.take() { raw.append(handle) }
        case 4...5: if !held.isEmpty { held.remove(at: lot.below(held.count)) }
        case 6: if !raw.isEmpty { cache.put(raw.remove(at: lot.below(raw.count))) }
        case 7: if lot.below(10) == 0 { cache.trim() }
        default: if lot.below(10) == 0 { trimZones() }
        }
        if Stage.checks(step) {
          let mine = held.map { $0.handle.value } + raw
          precondition(Set(mine).count == mine.count && cache.itemsInUse == mine.count, "step \(step), stream \(stream)")
          precondition(cache.itemsCached == numbers.out - mine.count && (limit == 0 || numbers.out <= limit))
          cache.checkInvariants()
        }
      }
      for handle in raw { cache.put(handle) }
      held = []
      cache.trim()
      precondition(numbers.out == 0)
    }
  }

  @Test func `threads and tasks that wait at a limit have each a handle of their own`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let numbers = Numbers(3)
      let cache = try makeCache(numbers, limit: 3)
      let taken = (0..<3).map { _ in Shared(Taken()) }
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<20 {
          group.addTask {
            for _ in 0..<50 {
              let handle = try! await cache.handleWhenFree()
              precondition(taken[Int(handle.value)].value.by.wrappingAdd(1, ordering: .relaxed).newValue == 1, "two have it")
              await Task.yield()
              taken[Int(handle.value)].value.by.wrappingSubtract(1, ordering: .relaxed)
            }
          }
        }
      }
      precondition(cache.itemsInUse == 0 && numbers.out <= 3 && cache.failures == 0)
      cache.checkInvariants()
    }
  }

  @Test func `a zone over several has its items from each, and gives them back there`() async {
    await #expect(processExitsWith: .success) {
      var near: Zone<Counted>? = try Zone<Counted>("near", flags: .offPage, addresses: 100)
      var far: Zone<Counted>? = try Zone<Counted>("far", flags: .offPage)
      let most = near!.limit
      let zone = try Zone("over both", over: [near!, far!])
      var held = (0..<most + 500).map { number in zone.item(Counted(number))!.release() }
      precondition(Set(held).count == most + 500 && zone.itemsInUse == most + 500 && near!.itemsInUse == 0)
      // What the first holds is used up.
      precondition(near!.allocate() == nil && far!.item(Counted(0)) != nil)
      for (number, element) in held.enumerated() { precondition(element.pointee.number == number) }
      for element in held { _ = zone.adopt(element) }
      held = []
      zone.trim()
      precondition(living == 0)
      let again = near!.item(Counted(1))
      precondition(again != nil)
      for one in [zone, near!, far!] { one.checkInvariants() }
      weak let nearer = near, farther = far
      near = nil
      far = nil
      precondition(nearer != nil && farther != nil)
      precondition(zone.item(Counted(3))!.take().number == 3)
    }
  }

  @Test func `zones that cannot go together are refused`() async {
    await #expect(processExitsWith: .success) {
      let plain = try Zone<Counted>("plain"), apart = try Zone<Counted>("apart", flags: .offPage)
      let counted = try Zone<Counted>("counted", flags: [.offPage, .referenceCounts])
      for zones in [[], [apart, plain], [apart, counted], Array(repeating: apart, count: 5)] {
        do throws(ZoneError) {
          _ = try Zone("refused", over: zones)
          preconditionFailure("it cannot be")
        } catch { precondition(error == .impossible) }
      }
      precondition(apart.item(Counted(1)) != nil && plain.item(Counted(1)) != nil)
      for zone in [plain, apart, counted] { zone.checkInvariants() }
    }
  }
}

private final class Taken { let by = Atomic(0) }
