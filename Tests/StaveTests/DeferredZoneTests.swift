// SPDX-License-Identifier: BSD-2-Clause
//
// Reading without a lock: what is freed keeps what it says until readers have left, and then its value ends.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

/// A node of a list that is read without a lock: its key stands twice, and is wrong in both places once the value has ended.
private struct Node: ~Copyable, @unchecked Sendable {
  let key: Int
  let copy: Atomic<Int>
  let next: Atomic<UnsafeMutablePointer<Node>?>

  init(_ key: Int, next: UnsafeMutablePointer<Node>? = nil) {
    self.key = key
    copy = Atomic(~key)
    self.next = Atomic(next)
    alive.wrappingAdd(1, ordering: .relaxed)
  }

  deinit {
    copy.store(0, ordering: .relaxed)
    alive.wrappingSubtract(1, ordering: .relaxed)
  }
}

private nonisolated(unsafe) let first = Atomic<UnsafeMutablePointer<Node>?>(nil)
private let isOver = Atomic(false)

@Suite struct DeferredZoneTests {
  @Test func `what is freed in a reader's sight ends when the reader has left`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      try watchOneNode()
      // With the zone the last of its values end.
      precondition(living == 0)
    }
  }

  @Test func `a zone that goes in a section of its own readers ends when the section has ended`() async {
    await #expect(processExitsWith: .success) {
      let readers = try ReadSections()
      var zone: DeferredZone<Node>? = try DeferredZone<Node>("goes inside", readers: readers)
      zone!.free(zone!.allocate(Node(1))!)
      readers.read {
        zone = nil
        // Others are made and go in the meantime.
        precondition((try? Zone<Int>("another")) != nil)
        trimZones()
        precondition(living == 1, "ended in a reader's sight")
      }
      trimZones()
      precondition(living == 0)
    }
  }

  @Test func `readers of a list never see a node that has ended, and all nodes end at last`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      do {
        let readers = try ReadSections()
        let zone = try DeferredZone<Node>("list", readers: readers)
        let done = DispatchGroup()
        for _ in 0..<2 {
          done.enter()
          Thread {
            while !isOver.load(ordering: .relaxed) {
              readers.read {
                var next = first.load(ordering: .acquiring)
                while let node = next {
                  precondition(node.pointee.copy.load(ordering: .relaxed) == ~node.pointee.key, "reused in a reader's sight")
                  next = node.pointee.next.load(ordering: .acquiring)
                }
              }
            }
            done.leave()
          }.start()
        }
        var lot = Generator(950)
        for key in 0..<20_000 * min(Stage.scale, 50) {
          if lot.below(2) == 0 || first.load(ordering: .relaxed) == nil {
            first.store(zone.allocate(Node(key, next: first.load(ordering: .relaxed)))!, ordering: .releasing)
          } else {
            // The second, if there is one, else the first.
            let head = first.load(ordering: .relaxed)!
            let second = head.pointee.next.load(ordering: .relaxed)
            if let second {
              head.pointee.next.store(second.pointee.next.load(ordering: .relaxed), ordering: .releasing)
              zone.free(second)
            } else {
              first.store(nil, ordering: .releasing)
              zone.free(head)
            }
          }
        }
        isOver.store(true, ordering: .relaxed)
        demand(await comesTrue { done.wait(timeout: .now()) == .success })
        var next = first.load(ordering: .relaxed)
        while let node = next {
          next = node.pointee.next.load(ordering: .relaxed)
          zone.free(node)
        }
        precondition(zone.itemsInUse == 0)
        zone.checkInvariants()
      }
      precondition(living == 0)
    }
  }
}

private final class Waits { let isOver = Atomic(false) }

private func watchOneNode() throws {
  let readers = try ReadSections()
  let zone = try DeferredZone<Node>("deferred", readers: readers)
  let entered = DispatchSemaphore(value: 0), leave = DispatchSemaphore(value: 0), left = DispatchSemaphore(value: 0)
  let node = Shared(zone.allocate(Node(5))!)
  Thread {
    readers.read {
      entered.signal()
      leave.wait()
      precondition(node.value.pointee.key == 5 && node.value.pointee.copy.load(ordering: .relaxed) == ~5, "ended in a reader's sight")
    }
    left.signal()
  }.start()
  entered.wait()
  zone.free(node.value)
  precondition(zone.itemsInUse == 0 && living == 1)
  zone.trim()
  for key in 0..<1000 { zone.free(zone.allocate(Node(key))!) }
  zone.trim()
  precondition(node.value.pointee.copy.load(ordering: .relaxed) == ~5 && living > 0)
  let waits = Shared(Waits()), waited = DispatchSemaphore(value: 0)
  Thread {
    precondition(readers.waitForReaders())
    waits.value.isOver.store(true, ordering: .sequentiallyConsistent)
    waited.signal()
  }.start()
  usleep(50_000)
  precondition(!waits.value.isOver.load(ordering: .sequentiallyConsistent), "it did not wait for a reader")
  leave.signal()
  left.wait()
  waited.wait()
  zone.trim()
  zone.checkInvariants()
}
