// SPDX-License-Identifier: BSD-2-Clause
//
// The store of stacks: compared with a dictionary, filled up, refused memory, used by threads at once.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport

extension UnsafeMutablePointer where Pointee == StacksState {
  /// Every stack is in its chain and there once, and as many are there as are counted.
  func checkInvariants() {
    guard let table = pointee.table else {
      precondition(pointee.count == 0 && pointee.words == 0, "stacks without a table")
      return
    }
    var seen: Set<[UInt]> = []
    for chain in 0..<StackTable.chainCount {
      var next = stave_load32(table.chain(UInt32(chain)))
      while next != 0 {
        precondition(next >= StackRecord.headerWords && Int64(next) < pointee.words, "a record that was not taken")
        let record = table.record(next)
        let count = Int(record.pointee.count)
        precondition((1...32).contains(count), "a stack of \(count) frames")
        precondition(Int(next) % StackTable.blockWords + StackRecord.headerWords + count <= StackTable.blockWords, "a record in two blocks")
        let frames = Array(frames(of: UInt32(next))!)
        precondition(frames.count == count && Self.hash(frames, count) == record.pointee.hash, "a stack whose hash is another")
        precondition(Int(record.pointee.hash) & (StackTable.chainCount - 1) == chain, "a stack in another's chain")
        precondition(seen.insert(frames).inserted, "a stack that is there twice")
        next = record.pointee.next
      }
    }
    precondition(seen.count == pointee.count, "\(seen.count) stacks, of \(pointee.count)")
  }
}

/// A store of a test's own, which stays for its process.
private func makeStore() -> UnsafeMutablePointer<StacksState> {
  let store = UnsafeMutablePointer<StacksState>.allocate(capacity: 1)
  memset(store, 0, MemoryLayout<StacksState>.size)
  return store
}

extension OnRoot {
  @Suite struct StackStoreTests {
    private func randomStack(_ chance: inout Generator, among addresses: Int) -> [UInt] {
      (0..<1 + chance.below(32)).map { _ in 0x5000_0000_0000 + UInt(chance.below(addresses)) }
    }

    @Test func `a stack has one number, which gives it back, as in a dictionary`() {
      Stage.up()
      var chance = Generator(71)
      let store = makeStore()
      var model: [[UInt]: UInt32] = [:]
      for step in 0..<Stage.steps(3000, soak: 50_000) {
        // Few addresses: many are alike, and beginnings of others.
        let stack = randomStack(&chance, among: step % 2 == 0 ? 2 : 1000)
        let number = store.number(of: stack, count: stack.count)
        #expect(number > 0 && number < 1 << 22)
        #expect(model[stack] ?? number == number, "a second number")
        model[stack] = number
        if let (some, its) = model.randomElement(using: &chance) { #expect(Array(store.frames(of: its)!) == some) }
        if step % 500 == 0 { store.checkInvariants() }
      }
      #expect(store.pointee.count == Int64(model.count) && Set(model.values).count == model.count)
      #expect(store.pointee.leftOut == 0 && store.pointee.lost == 0)
      store.checkInvariants()
      #expect(store.number(of: [], count: 0) == 0)
      #expect(store.frames(of: 0) == nil && store.frames(of: .max) == nil)
    }

    @Test func `two stacks of one hash are two stacks`() {
      Stage.up()
      let store = makeStore()
      var seen: [UInt32: UInt] = [:]
      var pairs = 0
      // Of 32 bits: some nine pairs are to be expected.
      var chance = Generator(seed: 72)
      for _ in 0..<300_000 {
        let pc = 0x5000_0000_0000 + UInt(chance.below(1 << 40))
        let hash = withUnsafePointer(to: pc) { UnsafeMutablePointer<StacksState>.hash($0, 1) }
        guard let other = seen.updateValue(pc, forKey: hash) else { continue }
        pairs += 1
        let ones: [[UInt]] = [[pc], [other], [pc]]
        let numbers: [UInt32] = ones.map { store.number(of: $0, count: 1) }
        #expect(numbers[0] == numbers[2] && numbers[0] != numbers[1])
        #expect(Array(store.frames(of: numbers[1])!) == [other])
      }
      #expect(pairs > 0)
      store.checkInvariants()
    }

    @Test func `what there is no room for is left out and counted; what is kept stays`() {
      Stage.up()
      let store = makeStore()
      var stack = [UInt](repeating: 7, count: 32)
      var numbers: [UInt32] = []
      while true {
        stack[0] = UInt(numbers.count)
        let number = store.number(of: stack, count: 32)
        if number == 0 { break }
        numbers.append(number)
      }
      // 240 of 34 words to a block.
      #expect(numbers.count == 240 * StackTable.blockCount && Set(numbers).count == numbers.count)
      #expect(store.pointee.leftOut == 1 && store.pointee.count == Int64(numbers.count))
      for index in stride(from: 0, to: numbers.count, by: 97) {
        stack[0] = UInt(index)
        #expect(store.number(of: stack, count: 32) == numbers[index])
      }
      store.checkInvariants()
    }

    @Test func `each step can be refused memory: then the stack is left out, and the next call may have better luck`() {
      Stage.up()
      exhaustMetadata()
      let store = makeStore()
      let stack: [UInt] = [1, 2, 3]
      // The table, then its first block.
      for refusals in 1...2 {
        stave_inject().pointee.always = Int(ENOMEM)
        exhaustMetadata()
        #expect(store.number(of: stack, count: 3) == 0)
        stave_inject().pointee.always = 0
        #expect(store.pointee.leftOut == refusals && store.pointee.count == 0 && store.pointee.words == 0)
        if refusals == 1 { #expect(store.makeTable() != nil) }
      }
      let number = store.number(of: stack, count: 3)
      #expect(number == 2 && Array(store.frames(of: number)!) == stack)
      store.checkInvariants()
    }

    @Test func `in a signal handler that came while metadata was locked a stack is left out, not waited for`() {
      Stage.up()
      let store = makeStore()
      metadataPages.pointee.lock.lock()
      #expect(store.number(of: [1], count: 1) == 0 && store.pointee.leftOut == 1)
      metadataPages.pointee.lock.unlock()
      #expect(store.number(of: [1], count: 1) > 0)
      store.checkInvariants()
    }

    @Test func `threads that keep the same stacks agree on their numbers`() {
      Stage.up()
      let store = Shared(makeStore())
      let count = Stage.steps(2000, soak: 20_000)
      let numbers = Shared(UnsafeMutablePointer<UInt32>.allocate(capacity: 4 * count))
      defer { numbers.value.deallocate() }
      inThreads(4) { thread in
        for index in 0..<count {
          // All of one chain now and then.
          let stack = [UInt(index), UInt(index % 7)]
          numbers.value[thread * count + index] = store.value.number(of: stack, count: 2)
        }
      }
      // A thread that was kept from metadata for long has left one out, and said so.
      var leftOut: Int64 = 0
      for index in 0..<count {
        let found = (0..<4).map { numbers.value[$0 * count + index] }
        #expect(Set(found).subtracting([0]).count == 1, "\(found)")
        leftOut += Int64(found.count { $0 == 0 })
      }
      #expect(store.value.pointee.leftOut == leftOut)
      #expect(store.value.pointee.count == Int64(count))
      store.value.checkInvariants()
    }

    @Test func `a child of fork goes on with the store as it was`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let store = makeStore()
        let before = store.number(of: [1, 2], count: 2)
        let child = stave_syscall6(Int(SYS_fork), 0, 0, 0, 0, 0, 0)
        let isSame = store.number(of: [1, 2], count: 2) == before
        let isNew = store.number(of: [3], count: 1) > before
        store.checkInvariants()
        if child == 0 { _exit(isSame && isNew ? 0 : 1) }
        var status: Int32 = 1
        waitpid(pid_t(child), &status, 0)
        precondition(isSame && isNew && status == 0)
      }
    }

    @Test func `a stack of this process is kept, and the option stacks says which are`() {
      Stage.up()
      stacks.pointee.mode = StackMode.auto
      defer { stacks.pointee.mode = StackMode.auto }
      var first: UInt32 = 0
      let cases: [(UInt32, StackUse, Bool)] = [
        (StackMode.auto, .guarded, true), (StackMode.auto, .guarded, true), (StackMode.auto, .checked, false), (StackMode.all, .checked, true),
        (StackMode.all, .guarded, true), (StackMode.none, .guarded, false), (StackMode.none, .checked, false),
      ]
      for (mode, use, isKept) in cases {
        stacks.pointee.mode = mode
        // The same place, the same stack.
        let number = record(use)
        if first == 0 { first = number }
        #expect(number == (isKept ? first : 0) && first > 0, "mode \(mode)")
      }
      let frames = Array(stacks.frames(of: first)!)
      #expect(frames.count > 3 && frames.allSatisfy { Module(at: $0 - 1) != nil })
    }

    @inline(never) private func record(_ use: StackUse) -> UInt32 { Stacks.record(use) }
  }
}
