// SPDX-License-Identifier: BSD-2-Clause
//
// The mailbox from inside: which letters are there, what is done about them, and what a change of options does to the fast path.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct MailboxTests {
    static func put(_ letter: Letter) { root.pointee.mailbox.letter = letter }
    static func set(_ option: Option, _ value: Int64, request: UInt64 = 1) -> Letter {
      Letter(request: request, command: MailCommand.set, subject: UInt32(option.rawValue), value: value)
    }

    @Test func `an empty mailbox, an answered letter and one that is not whole are no mail`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        precondition(!OwnMailbox.hasMail && OwnMailbox.read() == nil)
        let letter = OnRoot.MailboxTests.set(.period, 5)
        for change in 0..<5 {
          var torn = letter
          switch change {
          case 0: torn.request += 1
          case 1: torn.command += 1
          case 2: torn.subject += 1
          case 3: torn.value += 1
          default: torn.seal += 1
          }
          OnRoot.MailboxTests.put(torn)
          precondition(OwnMailbox.read() == nil)
          Heap.answerMailbox()
          precondition(root.pointee.mailbox.answer == 0 && heap.pointee.options[.period] == 1000)
        }
        OnRoot.MailboxTests.put(letter)
        precondition(OwnMailbox.hasMail && OwnMailbox.read() != nil)
        Heap.answerMailbox()
        precondition(!OwnMailbox.hasMail && OwnMailbox.read() == nil && heap.pointee.options[.period] == 5)
        precondition(root.pointee.mailbox.result == 1000 && root.pointee.mailbox.status == MailStatus.done)
      }
    }

    @Test func `who rings is answered at the next block that is freed, from a cache too, and once`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        guard !CPUCache.isLocked else { return }
        bind(toCPU: usableCPUs[0])
        let blocks = (0..<4).map { _ in Heap.allocate(64) }
        Heap.free(blocks[0])
        let direct = heap.pointee.classZones[3]!.pointee.directFrees
        OnRoot.MailboxTests.put(OnRoot.MailboxTests.set(.period, 5))
        Heap.free(blocks[1])
        precondition(heap.pointee.options[.period] == 1000, "its cell serves it, and nobody has rung")
        let bell = UnsafeMutableRawPointer(root) + RootLayout.mailboxOffset + Int(root.pointee.mailbox.bell)
        bell.storeBytes(of: 1, as: UInt16.self)
        Heap.free(blocks[2])
        precondition(heap.pointee.options[.period] == 5 && root.pointee.mailbox.result == 1000 && !OwnMailbox.hasMail)
        precondition(bell.load(as: UInt16.self) == 0 && !stave_is_called() && heap.pointee.classZones[3]!.pointee.directFrees == direct)
        // A letter that is not whole is nobody's; the bell is silent all the same.
        var torn = OnRoot.MailboxTests.set(.period, 7, request: 2)
        torn.seal += 1
        OnRoot.MailboxTests.put(torn)
        bell.storeBytes(of: 1, as: UInt16.self)
        Heap.free(blocks[3])
        precondition(heap.pointee.options[.period] == 5 && !stave_is_called())
        checkAll()
      }
    }

    @Test func `callers whose types are known are asked about anew when types are to be others`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        stave_caller_types()[5] = 0x1234_0001
        precondition(Heap.obey(OnRoot.MailboxTests.set(.types, 1)).status == MailStatus.done)
        precondition(stave_caller_types()[5] == 0)
      }
    }

    @Test func `who works in its parent's memory answers nothing there`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        OnRoot.MailboxTests.put(OnRoot.MailboxTests.set(.period, 5))
        root.pointee.process += 1  // as a child of vfork sees it
        Heap.answerMailbox()
        precondition(OwnMailbox.hasMail && heap.pointee.options[.period] == 1000)
        root.pointee.process -= 1
        Heap.answerMailbox()
        precondition(!OwnMailbox.hasMail && heap.pointee.options[.period] == 5)
      }
    }

    @Test func `every option is either changed or refused with a reason, and no value is taken unseen`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        precondition(Heap.obey(OnRoot.MailboxTests.set(.nmbufs, 5)).status == MailStatus.noPackets && heap.pointee.options[.nmbufs] == 0)
        // As where a program has packet buffers, later.
        root.pointee.isOwn = 1
        for index in 0..<Option.count {
          let option = Option(rawValue: index)!
          for value: Int64 in [.min, -1, 0, 1, 2, 3, 3_600_000, .max] {
            let before = heap.pointee.options[option]
            let answer = Heap.obey(OnRoot.MailboxTests.set(option, value))
            let isTaken = option.isChangeable && option.takes(value)
            precondition(answer.status == (isTaken ? MailStatus.done : option.isChangeable ? MailStatus.badValue : MailStatus.onlyAtStart))
            precondition(answer.result == before && heap.pointee.options[option] == (isTaken ? value : before))
          }
        }
        precondition(Heap.obey(Letter(request: 1, command: 0)).status == MailStatus.unknownCommand)
        precondition(Heap.obey(Letter(request: 1, command: MailCommand.set, subject: UInt32(Option.count))).status == MailStatus.unknownOption)
      }
    }

    @Test func `injected failures close the fast path and open it again, but not where it was closed for another reason`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        let open = stave_hot().pointee.small_limit
        _ = Heap.obey(OnRoot.MailboxTests.set(.failureRate, 3))
        precondition(stave_hot().pointee.small_limit == 0)
        let blocks = (0..<300).map { _ in Heap.allocate(64) }
        precondition(blocks.filter { $0 == nil }.count == 100)
        _ = Heap.obey(OnRoot.MailboxTests.set(.failureRate, 0))
        precondition(stave_hot().pointee.small_limit == open)
        precondition((0..<300).allSatisfy { _ in Heap.allocate(64) != nil })
        for case let block? in blocks { Heap.free(block) }
        CPUCache.switchToLocked()
        _ = Heap.obey(OnRoot.MailboxTests.set(.failureRate, 3))
        _ = Heap.obey(OnRoot.MailboxTests.set(.failureRate, 0))
        precondition(stave_hot().pointee.small_limit == 0, "locked caches have no fast path")
      }
    }

    @Test func `a thread that sleeps through a long period takes a shorter one, and ends when it is switched off`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        heap.pointee.options.values[Option.period.rawValue] = 3_600_000
        for _ in 0..<8 { Heap.free(Heap.allocate(64 << 20)) }
        precondition(heap.pointee.background.thread > 0)
        OnRoot.MailboxTests.put(OnRoot.MailboxTests.set(.period, 10))
        for _ in 0..<6000 where heap.pointee.background.periods < 1 { usleep(10_000) }
        precondition(heap.pointee.background.periods > 0, "the new period")
        heap.pointee.options.values[Option.period.rawValue] = 200
        OnRoot.MailboxTests.put(OnRoot.MailboxTests.set(.background, 0, request: 2))
        for _ in 0..<6000 where heap.pointee.background.thread != 0 { usleep(10_000) }
        precondition(heap.pointee.background.thread == 0 && heap.pointee.options[.background] == 0)
        for _ in 0..<100 { Heap.free(Heap.allocate(64 << 20)) }
        precondition(heap.pointee.background.thread == 0, "and does not come back")
      }
    }
  }
}
