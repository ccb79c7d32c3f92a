// SPDX-License-Identifier: BSD-2-Clause
//
// `stave check`: what it finds in processes that work, that are stopped, and that have died; and that it lets go.

import Foundation
import Testing

@testable import Exporters
@testable import Inspection
@testable import StaveCommand
@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct CheckTests {
  /// 3000 blocks, of which four are damaged: one behind, one before, one large behind, and one on both sides with its header gone.
  static let damage = """
    for (int i = 0; i < 3000; i++) held[i] = malloc(20 + i);
    for (int i = 0; i < 1000; i += 2) { free(held[i]); held[i] = 0; }
    held[3000] = malloc(200000);
    ((char *)held[101])[121] = 7; ((char *)held[101])[123] = 7;
    ((char *)held[203])[-1] = 7;
    for (int i = 0; i < 16; i++) ((char *)held[3000])[200000 + i] = 7;
    for (int i = 1; i <= 32; i++) { ((char *)held[2001])[-i] = 7; ((char *)held[2001])[2020 + i] = 7; }
    """

  private func damaged(_ all: [String: Any]) throws -> [[String: Any]] { try #require(all["damaged"] as? [[String: Any]]) }

  private func expectAll(_ all: [String: Any], sourceLocation: SourceLocation = #_sourceLocation) throws {
    #expect(2501...2700 ~= all["checked"] as? Int ?? 0 && (all["without-redzone"] as? Int ?? 99) < 20, "\(all)", sourceLocation: sourceLocation)
    let found = try damaged(all)
    #expect(found.count == 4, "\(found)", sourceLocation: sourceLocation)
    func one(_ size: Int) -> [String: Any] { found.first { $0["size"] as? Int == size } ?? [:] }
    #expect(one(121)["overflow"] as? [String: Int] == ["overwritten": 2, "nearest": 1, "farthest": 3, "beyond": 0] && one(121)["underflow"] == nil, sourceLocation: sourceLocation)
    #expect(one(121)["zone"] as? String == "malloc-192" && one(121)["type"] as? String == "malloc", "\(one(121))", sourceLocation: sourceLocation)
    #expect(one(223)["underflow"] as? [String: Int] == ["overwritten": 1, "nearest": 1, "farthest": 1, "beyond": 0] && one(223)["overflow"] == nil, sourceLocation: sourceLocation)
    #expect((one(200_000)["overflow"] as? [String: Int])?["overwritten"] == 16 && one(200_000)["zone"] as? String == "large", sourceLocation: sourceLocation)
    #expect((one(2021)["underflow"] as? [String: Int])?["beyond"] == 1 && (one(2021)["overflow"] as? [String: Int])?["overwritten"] == 16, "\(one(2021))", sourceLocation: sourceLocation)
  }

  @Test func `damaged blocks of a stopped process, with side, number, distance, zone and type; status 1; it stays stopped`() throws {
    guard let (started, folder) = try stopped(Self.damage, options: "background:0,redzone:1,percpu:locked") else { return }
    defer { kill(started.id, SIGKILL) }
    try withExtendedLifetime(folder) {
      let ended = try stave("check", "--json", "\(started.id)")
      #expect(ended.status == 1 && ended.errorText.isEmpty, ended.report)
      try expectAll(object(ended.text))
      let text = try stave("check", "\(started.id)").text
      #expect(text.contains("overflow: 2 bytes overwritten, 1 to 3 bytes behind the block of 121 bytes at 0x"), "\(text)")
      #expect(text.contains("underflow: 1 byte overwritten, 1 byte before the block of 223 bytes at 0x") && text.contains("(a large block, type malloc)"), "\(text)")
      #expect(text.split(separator: "\n").last?.contains("4 damaged") == true, "\(text)")
      #expect(text.components(separatedBy: "\n  allocated by\n  #0 0x").count == 5 && text.contains(" main+0x"), "\(text)")
      #expect(try String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8).contains(") T "), "stopped as before")
    }
  }

  @Test func `the same of a core`() throws {
    guard let (started, folder) = try stopped(Self.damage, options: "background:0,redzone:1") else { return }
    defer { kill(started.id, SIGKILL) }
    guard let gdb = find("gdb") else { return announceSkip("stave check of a core: gdb is not installed") }
    try withExtendedLifetime(folder) {
      let core = folder.file("core")
      _ = try run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(core)", "-p", "\(started.id)"])
      guard access(core, R_OK) == 0 else { return announceSkip("stave check of a core: gdb could not write one (ptrace forbidden?)") }
      let ended = try stave("check", "--json", core)
      #expect(ended.status == 1, ended.report)
      try expectAll(object(ended.text))
    }
  }

  @Test func `where nothing is damaged status 0; where it was never on, it says how to switch it on`() throws {
    for options in ["background:0,redzone:1", "background:0"] {
      guard let (started, folder) = try stopped("for (int i = 0; i < 3000; i++) held[i] = malloc(20 + i);", options: options) else { return }
      defer { kill(started.id, SIGKILL) }
      try withExtendedLifetime(folder) {
        let ended = try stave("check", "\(started.id)")
        #expect(ended.status == 0 && ended.text.contains(" 0 damaged"), ended.report)
        #expect(ended.text.contains("never been on") == !options.contains("redzone"), ended.report)
        let all = try object(stave("check", "--json", "\(started.id)").text)
        let (with, without) = options.contains("redzone") ? ("checked", "without-redzone") : ("without-redzone", "checked")
        #expect(3000...3100 ~= all[with] as? Int ?? 0 && (all[without] as? Int ?? 99) < 20, "\(all)")
      }
    }
  }

  @Test func `where RedZone is on and all blocks are guarded by pages, it is not said to be off`() throws {
    for (options, words) in [
      ("background:0,redzone:1,memguard:1", "(RedZone is on, and no block has guard bytes yet; "), ("background:0,redzone:1,redzone_type:nobody", "(RedZone is on, and no block has guard bytes yet)"),
    ] {
      guard let (started, folder) = try stopped("for (int i = 0; i < 10; i++) held[i] = malloc(20 + i);", options: options) else { return }
      defer { kill(started.id, SIGKILL) }
      try withExtendedLifetime(folder) {
        let ended = try stave("check", "\(started.id)")
        #expect(ended.status == 0 && ended.text.hasPrefix("0 blocks checked, 0 damaged; ") && ended.text.contains(words) && !ended.text.contains("never"), ended.report)
        #expect(ended.text.contains(" blocks guarded by pages instead)") == options.contains("memguard"), ended.report)
      }
    }
  }

  /// Threads that take, change in size and free blocks all the time, each of them right.
  static let busy = """
    #include <pthread.h>
    #include <stdlib.h>
    #include <string.h>
    static void *work(void *argument) {
      unsigned seed = (unsigned)(long)argument;
      static __thread void *held[500];
      for (;;) {
        int i = rand_r(&seed) % 500;
        size_t size = rand_r(&seed) % 100 ? rand_r(&seed) % 2000 : rand_r(&seed) % 300000;
        if (rand_r(&seed) % 3 == 0 && held[i]) { held[i] = realloc(held[i], size + 1); memset(held[i], 1, size + 1); }
        else { free(held[i]); held[i] = malloc(size); memset(held[i], 2, size); }
      }
    }
    int main(void) {
      pthread_t thread;
      for (long i = 1; i < 4; i++) pthread_create(&thread, 0, work, (void *)i);
      work((void *)9);
    }
    """

  @Test func `a process that works is held for a moment, is not taken for damaged, and goes on; so it does when the command is killed`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("stave check of a busy process: no compiler") }
    let folder = Folder()
    let built = try run(compiler, ["-O2", "-pthread", "-fno-builtin", folder.write(Self.busy, "busy.c"), "-o", folder.file("busy")])
    try #require(built.succeeded, built.report)
    let started = try Started(folder.file("busy"), environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "redzone:1"])
    defer { kill(started.id, SIGKILL) }
    // All of its threads have their blocks.
    #expect(wait { (try? object(stave("check", "--json", "\(started.id)").text))?["checked"] as? Int ?? 0 > 100 })
    for _ in 0..<10 {
      let ended = try stave("check", "--json", "\(started.id)")
      #expect(ended.status == 0, ended.report)
      let all = try object(ended.text)
      #expect((all["checked"] as? Int ?? 0) > 100 && (all["without-redzone"] as? Int ?? 999) < 300, "\(all)")
    }
    func isRunning() -> Bool {
      let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(started.id)/task")) ?? []
      return tasks.count >= 4 && tasks.allSatisfy { task in
        let text = (try? String(contentsOfFile: "/proc/\(started.id)/task/\(task)/status", encoding: .utf8)) ?? ""
        return text.contains("TracerPid:\t0") && !text.contains("State:\tt") && !text.contains("State:\tT")
      }
    }
    #expect(wait(isRunning), "let go")
    for delay in [2000, 8000, 15_000, 30_000] as [UInt32] {
      let command = try start(Built.command, ["check", "\(started.id)"])
      usleep(delay)
      kill(command.id, SIGKILL)
      _ = command.end()
      #expect(wait(isRunning), "let go after \(delay) µs")
    }
    // Mistakes: a process that is not there, and one without Stave.
    #expect(try stave("check", "999999999").status == 1)
    #expect(try stave("check").status == 2)
  }

  @Test func `a thread that is sent a signal meanwhile gets it once`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("stave check and signals: no compiler") }
    let folder = Folder()
    let text = """
      #include <signal.h>
      #include <stdio.h>
      #include <stdlib.h>
      #include <sys/wait.h>
      #include <unistd.h>
      static volatile sig_atomic_t count;
      static void note(int number) { (void)number; count++; }
      int main(void) {
        signal(SIGUSR1, note);
        puts("ready"); fflush(stdout);
        int rounds = 0;
        // On until somebody has looked often enough.
        for (; rounds < 200 || access("\(folder.file("enough"))", F_OK); rounds++) {
          pid_t child = fork();
          if (child < 0) { rounds--; continue; }
          if (child == 0) { usleep(500); kill(getppid(), SIGUSR1); _exit(0); }
          int before = count;
          for (int tries = 0; count == before && tries < 20000; tries++) { free(malloc(100)); usleep(100); }
          waitpid(child, 0, 0);
        }
        printf("%d\\n", (int)count); fflush(stdout);
        signal(SIGCHLD, SIG_IGN);
        return count != rounds;
      }
      """
    let built = try run(compiler, ["-O2", "-fno-builtin", folder.write(text, "signals.c"), "-o", folder.file("signals")])
    try #require(built.succeeded, built.report)
    let started = try Started(folder.file("signals"), environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "redzone:1,background:0"])
    #expect(wait { started.printed.contains("ready") })
    var checks = 0
    while (try? stave("check", "\(started.id)").status) == 0 {
      checks += 1
      if checks == 5 { _ = folder.write("", "enough") }
    }
    let ended = started.end()
    #expect(ended.status == 0 && checks >= 5, ended.report)
  }

  @Test func `switched on in a process that works, for a type too, by name; what it takes beyond the sizes is shown`() throws {
    guard let (started, folder) = try stopped("held[0] = malloc(100);", options: "background:0") else { return }
    defer { kill(started.id, SIGKILL) }
    try withExtendedLifetime(folder) {
      // It answers when it allocates.
      kill(started.id, SIGCONT)
      #expect(try stave("set", "\(started.id)", "redzone=1").text.contains("stave.redzone: 0 -> 1"))
      #expect(wait { (try? stave("get", "\(started.id)", "vm.redzone.blocks").text.contains("vm.redzone.blocks: ")) == true })
      #expect(try stave("set", "\(started.id)", "redzone_type=images+malloc").text.contains("stave.redzone_type: all -> images+malloc"))
      #expect(try stave("get", "\(started.id)", "stave.redzone_type").text == "stave.redzone_type: ?+malloc\n")
      #expect(try stave("set", "\(started.id)", "vm.redzone.panic=1").text.contains("vm.redzone.panic: 0 -> 1"))
      #expect(try stave("set", "\(started.id)", "redzone=-1").status == 2)
      let tooLong = try stave("set", "\(started.id)", "redzone_type=a+b+c+d+e+f+g+h+i+j+k+l+m+n+o+p+q")
      #expect(tooLong.status == 2 && tooLong.errorText.contains("up to 16 names"), tooLong.report)
      let figures = try stave("get", "\(started.id)", "vm.redzone").text
      #expect(figures.contains("vm.redzone.damaged: 0\n") && figures.contains("vm.redzone.extra_mem: "), "\(figures)")
    }
  }
}
