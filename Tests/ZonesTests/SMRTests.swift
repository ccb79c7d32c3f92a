// SPDX-License-Identifier: BSD-2-Clause
//
// A context of safe memory reclamation: when goals expire, whatever readers and the system do. Readers are told apart by their places,
// so one thread can play them all, and a model says of each goal at each moment whether it may have expired.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// A reader that this thread plays: a place of its own.
struct Player {
  let place: UInt32

  init() {
    let own = stave_smr_place()
    defer { stave_smr_set_place(own) }
    stave_smr_set_place(0)
    zones.pointee.smr!.givePlace()
    place = stave_smr_place()
  }

  func act<Result>(_ body: () -> Result) -> Result {
    let own = stave_smr_place()
    stave_smr_set_place(place)
    defer { stave_smr_set_place(own) }
    return body()
  }
}

/// What ends a section only then.
final class Gate: @unchecked Sendable {
  private let begun = DispatchSemaphore(value: 0)
  private let ended = DispatchSemaphore(value: 0)
  func enterAndWait() {
    begun.signal()
    ended.wait()
  }
  func waitForReader() { begun.wait() }
  func open() { ended.signal() }
}

extension OnRoot {
  @Suite struct SMRTests {
    init() { Stage.up() }

    @Test func `a goal expires when the sections have ended that were open at its advance`() {
      let smr = makeSMR()!
      #expect(smr.poll(smr.advance()))
      smr.enter()
      let first = smr.advance()
      #expect(!smr.poll(first))
      let other = Player()
      other.act { smr.enter() }  // has seen the first goal's advance, and not the second's
      let second = smr.advance()
      smr.exit()
      #expect(smr.poll(first) && !smr.poll(second))
      other.act { smr.exit() }
      #expect(smr.poll(second) && smr.poll(first))
      smr.checkInvariants()
      #expect(smr.destroy())
    }

    @Test func `sections nest, and the first in time counts however they end`() {
      let smr = makeSMR()!
      smr.enter()
      let goal = smr.advance()
      smr.read { #expect(smr.isInside && !smr.poll(goal)) }
      smr.enter()
      smr.exit()
      #expect(smr.isInside && !smr.poll(goal))
      smr.enter()
      #expect(!smr.destroy(), "a context with a section open")
      smr.exit()
      smr.exit()
      #expect(!smr.isInside && smr.poll(goal))
      #expect(smr.destroy())
    }

    @Test func `contexts are apart from each other`() {
      let (one, two) = (makeSMR()!, makeSMR()!)
      one.read {
        #expect(two.synchronize())
        #expect(!two.isInside && one.isInside)
      }
      #expect(one.destroy() && two.destroy())
    }

    @Test func `goals are right where the sequence runs over`() {
      let smr = makeSMR()!
      let step = UInt64(STAVE_SMR_STEP)
      smr.pointee.write = 0 &- 3 * step
      smr.pointee.read = 0 &- 3 * step
      let reader = Player()
      var goals: [UInt64] = []
      for round in 0..<7 {
        if round == 2 { reader.act { smr.enter() } }
        goals.append(smr.advance())
        for (index, goal) in goals.enumerated() {
          #expect(smr.poll(goal) == (index < 2), "goal \(index) in round \(round)")
          #expect(smr.goal(ofStamp: SMRPointer.stamp(of: goal)) == goal)
        }
        smr.checkInvariants()
      }
      #expect(goals.contains(0) && goals.first! > goals.last!)
      reader.act { smr.exit() }
      #expect(goals.allSatisfy { smr.poll($0) })
      // A goal from before so many advances that nothing of it is left looks younger than it is, or old enough; never unexpired for ever.
      let ancient = smr.advance()
      for distance: UInt64 in [1 << 20, 1 << 46, 1 << 47, (1 << 48) - 1] {
        smr.pointee.write = ancient &+ distance << 16
        #expect(smr.poll(ancient))
      }
      #expect(smr.destroy())
    }

    @Test func `a stamp of 32 bits means its goal, or a later one, never an earlier`() {
      let smr = makeSMR()!
      for start: UInt64 in [0, 0xffff_fffe << 16, 0xffff_ffff_fffe << 16] {
        smr.pointee.write = start
        smr.pointee.read = start
        let goal = smr.advance()
        let stamp = SMRPointer.stamp(of: goal)
        for distance: UInt64 in [0, 1, 0xffff_ffff, 1 << 32, (1 << 32) + 5, 7 << 40] {
          smr.pointee.write = goal &+ distance << 16
          let meant = smr.goal(ofStamp: stamp)
          #expect(smr.pointee.write &- meant <= smr.pointee.write &- goal, "an earlier goal")
          #expect(distance > 0xffff_ffff || meant == goal)
          // What has not expired does not for its age: a reader stands where the goal was not reached.
          smr.pointee.read = goal &- 1 << 16
          #expect(!smr.isReached(meant))
        }
      }
      smr.pointee.read = smr.pointee.write
      #expect(smr.destroy())
    }

    /// Random sections of many readers, goals and looks at them, against a list of who was inside when.
    @Test(arguments: [false, true]) func `random sections and goals are as a model has them`(isFenced: Bool) {
      var generator = Generator(isFenced ? 801 : 800)
      let smr = makeSMR()!
      if isFenced { smr.pointee.fences = 1 }
      let start = UInt64.max - UInt64(generator.below(2000)) * UInt64(STAVE_SMR_STEP)
      smr.pointee.write = start & ~SMRRegistry.depthMask
      smr.pointee.read = smr.pointee.write
      let players = (0..<6).map { _ in Player() }
      var depth = [Int](repeating: 0, count: players.count)
      var goals: [(goal: UInt64, stamp: UInt32, holders: Set<Int>)] = []
      for step in 0..<Stage.steps(4000, soak: 1_000_000) {
        let reader = generator.below(players.count)
        switch generator.below(10) {
        case 0...3 where depth[reader] < 5:
          players[reader].act { smr.enter() }
          depth[reader] += 1
        case 0...6 where depth[reader] > 0:
          players[reader].act { smr.exit() }
          depth[reader] -= 1
          if depth[reader] == 0 { for index in goals.indices { goals[index].holders.remove(reader) } }
        case 7:
          let goal = smr.advance()
          goals.append((goal, SMRPointer.stamp(of: goal), Set(depth.indices.filter { depth[$0] > 0 })))
        default:
          guard !goals.isEmpty else { continue }
          let index = generator.below(goals.count)
          let known = goals[index], isFree = known.holders.isEmpty
          // Goals expire in their order, so an earlier holder may hold up no more than what is behind its section.
          let answer = smr.poll(generator.below(2) == 0 ? known.goal : smr.goal(ofStamp: known.stamp))
          if answer != isFree { Issue.record("step \(step): goal \(index) expired: \(answer), holders \(known.holders) (STAVE_SEED=\(Stage.seed))") }
          if answer { goals.remove(at: index) }
        }
        if step % 16 == 0 { smr.checkInvariants() }
      }
      for reader in players.indices { for _ in 0..<depth[reader] { players[reader].act { smr.exit() } } }
      #expect(smr.synchronize() && smr.destroy())
    }

    @Test func `a thread that waits wakes soon after the last section has ended`() {
      let smr = makeSMR()!
      let gate = Gate(), shared = Shared(smr)
      let done = DispatchGroup()
      DispatchQueue.global().async(group: done) { shared.value.read { gate.enterAndWait() } }
      gate.waitForReader()
      let goal = smr.advance()
      #expect(!smr.poll(goal))
      DispatchQueue.global().asyncAfter(deadline: .now() + 0.03) { gate.open() }
      #expect(smr.poll(goal, wait: true))
      done.wait()
      #expect(smr.destroy())
    }

    @Test func `a thread that ends inside a section holds nothing up for ever, and is reported`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let shared = Shared(makeSMR()!)
        inThreads(1) { _ in shared.value.enter() }
        let goal = shared.value.advance()
        precondition(!shared.value.poll(goal))
        precondition(shared.value.poll(goal, wait: true))
        precondition(shared.value.destroy())
      }
      #expect(said(result, "has ended inside a read section"))
    }

    @Test func `places of threads that have ended are used again`() {
      let smr = makeSMR()!
      let shared = Shared(smr)
      for _ in 0..<400 { inThreads(1) { _ in shared.value.read {} } }
      #expect(zones.pointee.smr!.pointee.used < 200)
      #expect(smr.synchronize() && smr.destroy())
    }

    @Test func `threads beyond the places share a record, and are waited for`() {
      let smr = makeSMR()!
      let own = stave_smr_place()
      defer { stave_smr_set_place(own) }
      stave_smr_set_place(UInt32(STAVE_SMR_CROWD))
      smr.enter()
      let goal = smr.advance()
      smr.enter()
      smr.exit()
      #expect(!smr.poll(goal))
      smr.exit()
      #expect(smr.poll(goal))
      smr.checkInvariants()
      let shared = Shared(smr)
      inThreads(3) { _ in
        stave_smr_set_place(UInt32(STAVE_SMR_CROWD))
        for _ in 0..<2000 { shared.value.read { shared.value.read {} } }
      }
      #expect(smr.synchronize() && smr.destroy())
    }

    @Test func `a handler's sections are within those of the thread that it interrupts`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        Handled.smr = makeSMR()!
        Handled.count.pointee = 0
        signal(SIGUSR1) { _ in
          let smr = Handled.smr!
          smr.enter()
          Handled.count.pointee += smr.isInside ? 1 : 1_000_000
          smr.exit()
        }
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGUSR1)
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        let smr = Handled.smr!
        let thread = Shared(pthread_self())
        let isDone = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
        isDone.pointee = 0
        let flag = Shared(isDone)
        let sender = Thread {
          while stave_load32(flag.value) == 0 {
            pthread_kill(thread.value, SIGUSR1)
            usleep(20)
          }
        }
        sender.start()
        while Handled.count.pointee < 500 {
          for _ in 0..<100 {
            smr.enter()
            precondition(smr.isInside)
            let goal = smr.advance()
            precondition(Handled.count.pointee & 63 != 0 || !smr.poll(goal), "a handler has ended the thread's section")
            smr.exit()
            precondition(!smr.isInside, "a handler has left a section")
          }
        }
        stave_store32(isDone, 1)
        signal(SIGUSR1, SIG_IGN)
        precondition(Handled.count.pointee < 1_000_000 && smr.synchronize() && smr.destroy())
      }
    }

    @Test func `in the child of a fork the sections of its one thread go on, and no others`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let smr = makeSMR()!
        let gate = Gate(), shared = Shared(smr)
        Thread { shared.value.read { gate.enterAndWait() } }.start()
        gate.waitForReader()
        for isInside in [false, true] {
          if isInside { smr.enter() }
          let goal = smr.advance()
          Heap.prepareFork()
          let child = Int(libcFork())
          if child == 0 {
            Heap.childAfterFork()
            var isRight = smr.poll(goal) != isInside
            if isInside {
              smr.exit()
              isRight = isRight && smr.poll(goal)
            }
            _exit(isRight && smr.synchronize() ? 0 : 1)
          }
          Heap.parentAfterFork()
          var status: Int32 = -1
          waitpid(pid_t(child), &status, 0)
          precondition(status == 0, "the child: \(status)")
          precondition(!smr.poll(goal), "the parent's reader goes on")
        }
        smr.exit()
        gate.open()
        precondition(smr.synchronize())
      }
    }

    #if STAVE_CHECK_LOCKS
    @Test func `where the system refuses membarrier from the start readers have fences of their own`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        stave_inject().pointee.error = 38
        stave_inject().pointee.after = 2  // behind the registry's memory
        let smr = makeSMR()!
        stave_inject().pointee.after = 0
        precondition(smr.pointee.fences == 1)
        stave_inject().pointee.always = 38
        smr.enter()
        let goal = smr.advance()
        precondition(!smr.poll(goal))
        smr.exit()
        precondition(smr.poll(goal))
        stave_inject().pointee.always = 0
        precondition(smr.destroy())
      }
    }

    @Test func `where it is refused later nothing expires, and a wait ends`() {
      let smr = makeSMR()!
      let goal = smr.advance()
      stave_inject().pointee.always = 1
      #expect(!smr.poll(goal) && !smr.poll(goal, wait: true) && !smr.synchronize())
      stave_inject().pointee.always = 0
      #expect(smr.poll(goal))
      #expect(smr.destroy())
    }

    @Test func `L39 making a context with each system call refused`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        func once() {
          // A refused munmap loses addresses, no more.
          if let smr = makeSMR() { precondition((smr.synchronize() || smr.synchronize()) && smr.destroy()) }
        }
        precondition(refusingEachCall { once() } >= 2)
        // The refusal of membarrier stays with the registry.
        precondition(zones.pointee.smr!.pointee.fences == 1)
        zones.pointee.smr!.pointee.fences = 0
        precondition(stave_membarrier(SMRRegistry.registerFence, 0, 0) == 0)
        precondition(refusingEachCall { once() } >= 3)
        let last = makeSMR()!
        precondition(last.synchronize() && last.destroy())
      }
    }
    #endif

    @Test func `waiting for readers in a section of one's own is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        let smr = makeSMR()!
        smr.enter()
        smr.synchronize()
      }
      #expect(said(result, "while it is in a section of the same context itself"))
    }

    #if STAVE_CHECK_LOCKS
    @Test func `leaving a section twice is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        let smr = makeSMR()!
        smr.read {}
        smr.exit()
      }
      #expect(said(result, "leaves a section in which it is not"))
    }
    #endif
  }
}

func said(_ result: ExitTest.Result?, _ text: String) -> Bool {
  String(decoding: result?.standardErrorContent ?? [], as: UTF8.self).contains(text)
}

private enum Handled {
  nonisolated(unsafe) static var smr: SMRPointer?
  /// By address: a handler's access must not be taken for one at the same time.
  nonisolated(unsafe) static let count = UnsafeMutablePointer<Int>.allocate(capacity: 1)
}
