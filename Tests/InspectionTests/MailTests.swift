// SPDX-License-Identifier: BSD-2-Clause
//
// Asking a real process: what it does, what it refuses, what it never reads. Needs `make` first.

import Glibc
import Heap
import Pages
import Testing

@testable import Inspection
@testable import TestSupport

@Suite struct MailTests {
  /// A process all of whose calls are served by its caches: its mailbox is answered at a free, since who asks rings. It begins with a wait for SIGUSR1 if
  /// `waits`; then it forks if `forks`, and both allocate.
  final class Rig {
    let child: Started
    let folder: Folder
    let target: LiveProcess
    let location: RootLocation
    let mail: Mail

    init?(waits: Bool = false, forks: String = "") throws {
      let text = """
        #include <signal.h>
        #include <stdlib.h>
        #include <unistd.h>
        int main(void) {
          sigset_t set; int number;
          sigemptyset(&set); sigaddset(&set, SIGUSR1); sigprocmask(SIG_BLOCK, &set, 0);
          free(malloc(100));
          if (write(1, "ready", 5) < 0) return 1;
          if (\(waits ? 1 : 0)) sigwait(&set, &number);
          \(forks)
          for (;;) {
            for (int i = 0; i < 10; i++) free(malloc(100));
            usleep(10000);
          }
        }
        """
      guard let (child, folder) = startOnStave(text, "rig") else { return nil }
      (self.child, self.folder) = (child, folder)
      wait(for: "the program has not started") { child.printed.contains("ready") && child.isOnStave(as: "rig") }
      target = try LiveProcess(process: child.id)
      location = try SnapshotReader(target).location
      mail = Mail(target, location)
    }

    func value(_ option: Option, of other: LiveProcess? = nil) throws -> Int64 { try SnapshotReader(other ?? target).snapshot().options[option.rawValue] }
    func descendant() throws -> LiveProcess {
      wait(for: "no child") { ProcessTable().descendants(of: child.id).count == 1 }
      return try LiveProcess(process: ProcessTable().descendants(of: child.id)[0].process)
    }
  }

  @Test func `a process takes an option over, and tells the value before`() throws {
    guard let rig = try Rig() else { return }
    #expect(try rig.mail.set(.period, to: 50, waiting: 60) == .done(1000))
    #expect(try rig.value(.period) == 50)
    #expect(try rig.mail.set(.period, to: 60, waiting: 60) == .done(50))
    #expect(try rig.mail.set(.hugepages, to: 1, waiting: 60) == .done(0))
    guard case .done = try rig.mail.trim(waiting: 60) else {
      Issue.record("no trim")
      return
    }
  }

  @Test func `failures can be switched on and off while a program runs`() throws {
    guard let rig = try Rig() else { return }
    let before = try SnapshotReader(rig.target).snapshot()
    #expect(before.injectedFailures == 0)
    #expect(try rig.mail.set(.failureRate, to: 2, waiting: 60) == .done(0))
    wait(for: "no call fails") { (try? SnapshotReader(rig.target).snapshot().injectedFailures) ?? 0 > 20 }
    #expect(try rig.mail.set(.failureRate, to: 0, waiting: 60) == .done(2))
    let after = try SnapshotReader(rig.target).snapshot()
    wait(for: "it goes on") {
      guard let now = try? SnapshotReader(rig.target).snapshot() else { return false }
      return now.zones.reduce(0) { $0 + $1.allocations } > after.zones.reduce(0) { $0 + $1.allocations } + 20
    }
    #expect(try SnapshotReader(rig.target).snapshot().injectedFailures == after.injectedFailures, "none fails any more")
  }

  @Test func `T13 the process checks what it is asked, whoever wrote it`() throws {
    guard let rig = try Rig() else { return }
    func refusal(_ command: UInt32, _ subject: UInt32, _ value: Int64) -> InspectionError? {
      errorOf { () throws(InspectionError) in
        _ = try rig.mail.ask(Letter(request: rig.mail.newNumber, command: command, subject: subject, value: value), "period", waiting: 60)
      }
    }
    let options = try SnapshotReader(rig.target).snapshot().options
    #expect(refusal(77, 0, 0) == .refused("it does not know that request"))
    #expect(refusal(MailCommand.set, 99, 1) == .refused("it has no option of that number"))
    #expect(refusal(MailCommand.set, .max, 1) == .refused("it has no option of that number"))
    for value: Int64 in [0, -1, .min, .max, 3_600_001] {
      #expect(refusal(MailCommand.set, UInt32(Option.period.rawValue), value) == .refused("period does not take that value there"))
    }
    for value: Int64 in [3, -1, .max] {
      #expect(refusal(MailCommand.set, UInt32(Option.hugepages.rawValue), value) == .refused("period does not take that value there"))
    }
    #expect(refusal(MailCommand.set, UInt32(Option.percpu.rawValue), 1) == .refused("period takes its value only when the program starts"))
    #expect(try SnapshotReader(rig.target).snapshot().options == options)
    // A letter that is not whole is not there; and whoever writes next does not wait for it for ever.
    var torn = Letter(request: 5, command: MailCommand.set, subject: UInt32(Option.period.rawValue), value: 9)
    torn.value = 8
    try rig.target.write(value: torn, at: rig.location.address + UInt(RootLayout.mailboxOffset))
    usleep(100_000)
    #expect(try rig.value(.period) == 1000)
    #expect(try rig.target.read(UInt64.self, at: rig.location.address + UInt(RootLayout.mailboxOffset)) == 5)
    #expect(try rig.mail.set(.period, to: 7, waiting: 60) == .done(1000))
  }

  @Test func `L72 a stopped process has the request pending, and takes it when it goes on`() throws {
    guard let rig = try Rig() else { return }
    kill(rig.child.id, SIGSTOP)
    wait(for: "it does not stop") { rig.child.isStopped }
    #expect(try rig.mail.set(.period, to: 33, waiting: 0.05) == .pending)
    #expect(try rig.mail.set(.period, to: 33, waiting: 0.05) == .pending, "the same wish again")
    guard case .refused(let reason) = errorOf({ () throws(InspectionError) in _ = try rig.mail.set(.period, to: 44, waiting: 0.05) }) else {
      Issue.record("a second letter on top of the first")
      return
    }
    #expect(reason.contains("earlier request"))
    #expect(try rig.value(.period) == 1000)
    kill(rig.child.id, SIGCONT)
    wait(for: "it does not take it") { (try? rig.value(.period)) == 33 }
  }

  @Test func `a child of fork has a mailbox of its own: neither takes what the other was asked`() throws {
    guard let rig = try Rig(waits: true, forks: "fork();") else { return }
    #expect(try rig.mail.set(.period, to: 55, waiting: 0.05) == .pending, "it waits for a signal, and allocates nothing")
    kill(rig.child.id, SIGUSR1)
    let child = try rig.descendant()
    wait(for: "the parent does not take it") { (try? rig.value(.period)) == 55 }
    wait(for: "the child does not work") { ((try? SnapshotReader(child).snapshot().zones.reduce(0) { $0 + $1.allocations }) ?? 0) > 100 }
    #expect(try rig.value(.period, of: child) == 1000, "it was the parent's letter")
    #expect(try child.read(Mailbox.self, at: rig.location.address + UInt(RootLayout.mailboxOffset)).bell != 0, "its caches may serve all that it calls")
    #expect(try Mail(child, rig.location).set(.period, to: 77, waiting: 60) == .done(1000))
    #expect(try rig.value(.period) == 55 && rig.value(.period, of: child) == 77)
  }

  @Test func `a child of vfork is refused: its mailbox is its parent's`() throws {
    guard let rig = try Rig(waits: true, forks: "if (vfork() == 0) for (;;) pause();") else { return }
    kill(rig.child.id, SIGUSR1)
    let child = try rig.descendant()
    guard case .refused(let reason) = errorOf({ () throws(InspectionError) in _ = try Mail(child, rig.location).set(.period, to: 5, waiting: 0.05) })
    else {
      Issue.record("a letter in the parent's mailbox")
      return
    }
    #expect(reason.contains("memory is that of process \(rig.child.id)"))
    #expect(try rig.target.read(UInt64.self, at: rig.location.address + UInt(RootLayout.mailboxOffset)) == 0)
    kill(child.process, SIGKILL)
  }
}
