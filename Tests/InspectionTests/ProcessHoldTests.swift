// SPDX-License-Identifier: BSD-2-Clause
//
// Holding processes that do not make it easy: ones that get signals, begin threads, have lost their first thread, wait in vfork, or
// are held already.

import CPlatform
import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

@Suite struct ProcessHoldTests {
  /// A program of C, and what it is linked with.
  private func started(_ text: String, _ name: String) throws -> (Started, Folder)? {
    guard let compiler = find("clang", "gcc", "cc") else {
      announceSkip("held programs: no C compiler")
      return nil
    }
    let folder = Folder(), program = folder.file(name)
    let built = try run(compiler, ["-O1", "-pthread", "-o", program, folder.write(text, name + ".c")])
    try #require(built.succeeded, built.report)
    let child = try Started(program)
    wait(for: "it is ready") { child.printed.contains("ready") }
    return (child, folder)
  }

  /// At most half a minute.
  private func patiently(_ condition: () -> Bool) -> Bool {
    for _ in 0..<15_000 {
      if condition() { return true }
      usleep(2000)
    }
    return false
  }

  /// The state of each thread, as /proc has it.
  private func states(of process: Int32) -> [Int32: Character] {
    guard let folder = opendir("/proc/\(process)/task") else { return [:] }
    defer { closedir(folder) }
    var found: [Int32: Character] = [:]
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard let number = Int32(name), let text = readSmallFile("/proc/\(process)/task/\(number)/stat") else { continue }
      let words = String(decoding: text, as: UTF8.self).split(separator: ")").last?.split(separator: " ")
      found[number] = words?.first?.first
    }
    return found
  }

  @Test func `signals that come while it is being held are not lost`() throws {
    let text = """
      #include <pthread.h>
      #include <signal.h>
      #include <unistd.h>
      static volatile sig_atomic_t count, stop, ended;
      static volatile int sent;
      static void note(int signal) { count++; }
      static void end(int signal) { stop = 1; }
      static void *flood(void *of) {
        union sigval value = {0};
        while (!stop) { while (sigqueue(getpid(), SIGRTMIN, value)) usleep(100); sent++; }
        ended = 1;
        return 0;
      }
      int main(void) {
        struct sigaction action = {.sa_handler = note}, last = {.sa_handler = end};
        sigaction(SIGRTMIN, &action, 0);
        sigaction(SIGUSR1, &last, 0);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        pthread_t thread;
        write(1, "ready\\n", 6);
        // The other thread does not take them itself.
        pthread_sigmask(SIG_BLOCK, &set, 0);
        pthread_create(&thread, 0, flood, 0);
        pthread_sigmask(SIG_UNBLOCK, &set, 0);
        while (!ended || count < sent) usleep(1000);
        write(1, "all\\n", 4);
        for (;;) pause();
      }
      """
    guard let (child, folder) = try started(text, "flooded") else { return }
    try withExtendedLifetime(folder) {
      for _ in 0..<40 {
        let hold = try ProcessHold(child.id, patience: 30)
        #expect(hold.unheld == 0)
        hold.letGo()
      }
      #expect(!child.printed.contains("all") && kill(child.id, SIGUSR1) == 0)
      #expect(patiently { child.printed.contains("all") }, "signals are lost")
    }
  }

  @Test func `threads begun meanwhile are held, too; without letGo all are let go with the object`() throws {
    let text = """
      #include <pthread.h>
      #include <unistd.h>
      static void *next(void *of) {
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        while (pthread_create(&thread, &attributes, next, 0)) usleep(100);
        return 0;
      }
      int main(void) {
        for (int i = 0; i < 8; i++) { pthread_t thread; pthread_create(&thread, 0, next, 0); }
        write(1, "ready\\n", 6);
        for (;;) pause();
      }
      """
    guard let (child, folder) = try started(text, "spawning") else { return }
    try withExtendedLifetime(folder) {
      for _ in 0..<20 {
        do {
          let hold = try ProcessHold(child.id, patience: 30)
          let running = states(of: child.id).filter { !"tZX".contains($0.value) }
          #expect(running.isEmpty && hold.unheld == 0, "\(running)")
          withExtendedLifetime(hold) {}
        }
        #expect(patiently { states(of: child.id)[child.id] != "t" }, "it is held for ever")
      }
    }
  }

  @Test func `a process whose first thread has ended is held by the others`() throws {
    let text = """
      #include <pthread.h>
      #include <unistd.h>
      static pthread_t first;
      static void *stay(void *of) { pthread_join(first, 0); write(1, "ready\\n", 6); for (;;) pause(); }
      int main(void) { pthread_t thread; first = pthread_self(); pthread_create(&thread, 0, stay, 0); pthread_exit(0); }
      """
    guard let (child, folder) = try started(text, "headless") else { return }
    try withExtendedLifetime(folder) {
      #expect(patiently { states(of: child.id)[child.id] == "Z" })
      let hold = try ProcessHold(child.id, patience: 30)
      #expect(hold.held == 1 && hold.unheld == 0)
      hold.letGo()
    }
  }

  @Test func `what waits in the kernel for the child of a vfork is counted, and others are held; it goes on when it has been held and let go`() throws {
    let go = Folder()
    let text = """
      #include <pthread.h>
      #include <unistd.h>
      static void *stay(void *of) { for (;;) pause(); }
      int main(void) {
        pthread_t thread;
        pthread_create(&thread, 0, stay, 0);
        if (vfork() == 0) {
          write(1, "ready\\n", 6);
          for (int i = 0; i < 60000 && access("\(go.file("go"))", F_OK); i++) usleep(1000);
          _exit(0);
        }
        write(1, "on\\n", 3);
        for (;;) pause();
      }
      """
    guard let (child, folder) = try started(text, "waiting") else { return }
    try withExtendedLifetime(folder) {
      let first = try ProcessHold(child.id, patience: 1)
      #expect(first.held == 1 && first.unheld == 1, "\(first.held) \(first.unheld)")
      first.letGo()
      let second = try ProcessHold(child.id, patience: 1, after: first)
      #expect(second.held == 1 && second.unheld == 1, "\(second.held) \(second.unheld)")
      second.letGo()
      _ = go.write("", "go")
      // It stops as soon as it is back.
      #expect(patiently { states(of: child.id)[child.id] == "t" } && !child.printed.contains("on"))
      let third = try ProcessHold(child.id, patience: 30, after: second)
      #expect(third.held == 2 && third.unheld == 0)
      third.letGo()
      #expect(patiently { child.printed.contains("on") })
    }
  }

  @Test func `one that somebody traces already is refused, with who it is`() throws {
    let child = try Started.sleeping()
    let hold = try ProcessHold(child.id, patience: 30)
    let failure = errorOf { () throws(InspectionError) in _ = try ProcessHold(child.id) }
    #expect("\(String(describing: failure))".contains(" is tracing it already"), "\(String(describing: failure))")
    hold.letGo()
    _ = try ProcessHold(child.id, patience: 30)
  }
}
