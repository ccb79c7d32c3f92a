// SPDX-License-Identifier: BSD-2-Clause
//
// That nothing is reused too early. Readers hold what they have found while they hop from CPU to CPU, are interrupted by handlers that
// read as well, and end; writers replace what they hold, and the destructor writes over it; others drain; the process forks. And the
// smallest case of all, two threads and two items, over and over: who leaves the fence out sees that one fail.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What threads and handlers count, by address.
private final class Tally: @unchecked Sendable {
  let words = UnsafeMutablePointer<Int64>.allocate(capacity: 4)
  init() { words.initialize(repeating: 0, count: 4) }
  deinit { words.deallocate() }
  var writers: UnsafeMutablePointer<Int64> { words }
  var damaged: UnsafeMutablePointer<Int64> { words + 1 }
  var reads: UnsafeMutablePointer<Int64> { words + 2 }
  var handled: UnsafeMutablePointer<Int64> { words + 3 }
  var isRunning: Bool { Int64(bitPattern: stave_load64(writers)) > 0 }
}

private enum Handler {
  nonisolated(unsafe) static var table: LockFreeTable?
  nonisolated(unsafe) static var tally: Tally?
}

extension OnRoot {
  @Suite struct SMRStressTests {
    init() { Stage.up() }

    private static let keys = 64

    /// One section: finds some keys and looks at what it holds again and again, wherever it runs meanwhile.
    private static func read(_ table: LockFreeTable, _ tally: Tally, _ generator: inout Generator) {
      var isDamaged = false
      let smr = table.zone.smr!
      smr.enter()
      var held: [(LockFreeTable.Node, UInt64)] = []
      for _ in 0..<4 {
        if let node = table.find(UInt64(generator.below(keys)), &isDamaged) { held.append((node, node.version)) }
        switch generator.below(12) {
        case 0: bind(toCPU: usableCPUs[generator.below(usableCPUs.count)])
        case 1: _ = stave_yield()
        case 2: smr.read { _ = table.find(UInt64(generator.below(keys)), &isDamaged) }
        case 3: if generator.below(20) == 0 { usleep(300) }
        default: break
        }
        for (node, version) in held where !node.isWhole || node.version != version { isDamaged = true }
      }
      smr.exit()
      if isDamaged { stave_add(tally.damaged, 1) }
      stave_add(tally.reads, 1)
    }

    static func stress(_ stream: UInt64, isFenced: Bool = false) {
      let zone = makeTestSMRZone("stress", LockFreeTable.Node.bytes, hooks: ZoneHooks(destructor: LockFreeTable.destructor))
      if isFenced { zone.smr!.pointee.fences = 1 }
      let table = LockFreeTable(chains: 16, zone: zone), tally = Tally()
      let (readers, writers) = (3, 2)
      tally.writers.pointee = Int64(writers)
      for key in 0..<keys { table.put(UInt64(key), 1) }
      (Handler.table, Handler.tally) = (table, tally)
      let handler: @convention(c) (Int32) -> Void = { _ in
        var isDamaged = false
        let (table, tally) = (Handler.table!, Handler.tally!)
        table.zone.smr!.enter()
        for key: UInt64 in 0..<4 { if let node = table.find(key * 7, &isDamaged), !node.isWhole { isDamaged = true } }
        table.zone.smr!.exit()
        if isDamaged { stave_add(tally.damaged, 1) }
        stave_add(tally.handled, 1)
      }
      // Swift makes some things at their first use, under locks of its own: now, not in a handler that comes in between, nor in a child.
      handler(SIGUSR2)
      signal(SIGUSR2, handler)
      zone.freeSMR(zone.allocateSMR())
      precondition(zone.smr!.synchronize() && tally.handled.pointee == 1)
      tally.handled.pointee = 0
      let steps = Stage.steps(120_000, soak: 20_000_000)
      inThreads(readers + writers + 3) { thread in
        var generator = Generator(stream &+ UInt64(thread))
        switch thread {
        case 0..<writers:
          for step in 0..<steps {
            let key = UInt64(generator.below(keys))
            if !table.put(key, generator.below(16) == 0 ? nil : UInt64(step + 2)) { stave_add(tally.damaged, 1) }
            if generator.below(500) == 0 { bind(toCPU: usableCPUs[generator.below(usableCPUs.count)]) }
          }
          stave_add(tally.writers, -1)
        case writers..<(writers + readers):
          var signals = sigset_t()
          sigemptyset(&signals)
          sigaddset(&signals, SIGUSR2)
          pthread_sigmask(SIG_UNBLOCK, &signals, nil)
          let own = Shared(pthread_self())
          // Whoever signals a thread must know that it is there: its own child does.
          let sender = Thread {
            while tally.isRunning {
              pthread_kill(own.value, SIGUSR2)
              usleep(500)
            }
            stave_add(tally.writers, -1 << 32)
          }
          sender.start()
          while tally.isRunning { read(table, tally, &generator) }
          // Not before the sender has ended; the sum of writers says so.
          while Int64(bitPattern: stave_load64(tally.writers)) > -Int64(readers) << 32 { usleep(1000) }
        case writers + readers:
          // Threads that come and go, outside of sections.
          while tally.isRunning {
            inThreads(2) { index in
              var generator = Generator(stream &+ UInt64(100 + index))
              for _ in 0..<20 { read(table, tally, &generator) }
            }
          }
        case writers + readers + 1:
          while tally.isRunning {
            for request in [Reclaim.trim, .drain, .drainCPU] { table.zone.reclaim(request) }
            for cpu in usableCPUs { _ = emptyCaches(of: cpu) }
            if !table.zone.smr!.synchronize() { stave_add(tally.damaged, 1) }
            usleep(500)
          }
        default:
          // Children in whose parent readers are inside, whose one thread is as well, and goes on to write.
          for _ in 0..<4 where tally.isRunning {
            let smr = table.zone.smr!
            smr.enter()
            var isDamaged = false
            let node = table.find(3, &isDamaged), version = node?.version
            Heap.prepareFork()
            let child = Int(libcFork())
            if child == 0 {
              Heap.childAfterFork()
              // Straight at the zone: a lock of the table may have been some thread's.
              let goal = smr.advance()
              var isRight = !smr.poll(goal) && (node == nil || node!.isWhole && node!.version == version)
              smr.exit()
              for _ in 0..<2000 { table.zone.freeSMR(table.zone.allocateSMR()) }
              isRight = isRight && smr.synchronize() && !isDamaged
              _exit(isRight ? 0 : 1)
            }
            Heap.parentAfterFork()
            smr.exit()
            var status: Int32 = -1
            waitpid(pid_t(child), &status, 0)
            if status != 0 || isDamaged { stave_add(tally.damaged, 1) }
            usleep(20_000)
          }
        }
      }
      precondition(tally.damaged.pointee == 0, "\(tally.damaged.pointee) of \(tally.reads.pointee) reads met what was reused (STAVE_SEED=\(Stage.seed))")
      precondition(tally.reads.pointee > 0 && tally.handled.pointee > 0)
      table.empty()
      check(zone, holding: 0)
      precondition(zone.destroy() == 0, "items out")
      checkAll()
    }

    @Test func `readers never meet what is reused, whatever threads, CPUs, signals and forks do`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.SMRStressTests.stress(810)
      }
    }

    @Test func `nor where caches are locked and readers fence themselves`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.SMRStressTests.stress(820, isFenced: true)
      }
    }

    /// A writer unlinks one of two items and writes over it as soon as it may; a reader looks at whichever is linked.
    @Test(arguments: [false, true]) func `an item is whole as long as a reader may have found it`(isFenced: Bool) {
      let smr = makeSMR()!
      if isFenced { smr.pointee.fences = 1 }
      // A line for the link and one for each item.
      let lines = UnsafeMutablePointer<UInt64>.allocate(capacity: 32)
      lines.initialize(repeating: 0, count: 32)
      lines[8] = 1
      stave_store64(lines, 8)
      let shared = Shared((smr, lines))
      let steps = Stage.steps(60_000, soak: 100_000_000)
      inThreads(2) { thread in
        let (smr, lines) = shared.value
        if thread == 0 {
          for step in 0..<steps {
            let (old, new) = step & 1 == 0 ? (8, 16) : (16, 8)
            lines[new] = 1
            stave_store64(lines, UInt64(new))
            let goal = smr.advance()
            while !smr.poll(goal) {}
            lines[old] = 0
          }
          stave_store64(lines + 24, 1)
        } else {
          // Stores to cold lines keep what enters the section back, while the loads behind it go on: then the fence is needed.
          let words = 1 << 21, cold = UnsafeMutablePointer<UInt64>.allocate(capacity: words)
          defer { cold.deallocate() }
          var chance: UInt64 = 1
          while stave_load64(lines + 24) == 0 {
            for _ in 0..<8 {
              chance = chance &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
              cold[Int(chance >> 43)] = chance
            }
            smr.enter()
            let item = lines + Int(stave_load64(lines))
            var isWhole = true
            for _ in 0..<16 where stave_load64(item) != 1 { isWhole = false }
            smr.exit()
            if !isWhole { lines[25] += 1 }
          }
        }
      }
      #expect(lines[25] == 0, "met what was written over, \(lines[25]) times")
      lines.deallocate()
      #expect(smr.synchronize() && smr.destroy())
    }
  }
}
