// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks switched on and off from outside, in a program whose threads work meanwhile: its blocks stay whole, its sums close with
// nothing cached, and a mistake that it makes while they are on is its last.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct CheckSwitchTests {
  static let program = """
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    static volatile sig_atomic_t isWanted;
    static void *volatile shared[64];
    static void want(int number) { (void)number; isWanted = 1; }
    static unsigned next(unsigned *state) { return *state = *state * 1103515245u + 12345u, *state >> 8; }
    static void check(unsigned char *block) {
      size_t size = *(size_t *)block;
      for (size_t i = 8; i < size; i += i < 64 ? 1 : 501) if (block[i] != (unsigned char)size) { puts("spoilt"); fflush(stdout); _exit(3); }
    }
    static void *work(void *argument) {
      unsigned state = (unsigned)(uintptr_t)argument;
      for (;;) {
        size_t size = 200 + next(&state) % (next(&state) % 50 ? 3000 : 100000);
        unsigned char *block = next(&state) % 2 ? malloc(size) : calloc(1, size);
        if (!block) abort();
        memset(block, (unsigned char)size, size);
        *(size_t *)block = size;
        unsigned char *other = __atomic_exchange_n(&shared[next(&state) % 64], block, __ATOMIC_ACQ_REL);
        if (other) {
          check(other);
          if (next(&state) % 4 == 0) {
            size_t more = *(size_t *)other;
            other = realloc(other, more * 2);
            check(other);
          }
          free(other);
        }
      }
    }
    int main(void) {
      signal(SIGUSR1, want);
      for (int i = 1; i <= 4; i++) { pthread_t thread; pthread_create(&thread, NULL, work, (void *)(uintptr_t)(i * 77)); }
      puts("works"); fflush(stdout);
      while (!isWanted) usleep(1000);
      char *one = malloc(77);
      __asm__ volatile("" : "+r"(one));
      free(one);
      for (int i = 0; i < 1000; i++) free(malloc(1000));
      __asm__ volatile("" : "+r"(one));
      free(one);
      usleep(100000);
      puts("unnoticed");
      _exit(0);
    }
    """

  @Test func `item checks are switched on and off in a program at work, and find what it does wrong then`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("item checks from outside: no compiler") }
    let folder = Folder()
    let source = folder.write(Self.program, "main.c")
    let built = try run(compiler, ["-O2", "-w", "-pthread", source, "-o", folder.file("main")])
    try #require(built.succeeded, built.report)
    let child = try Started(folder.file("main"), environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "inspect:any"])
    #expect(wait { child.printed.contains("works") })
    func get(_ name: String) throws -> Int {
      let ended = try stave("get", "\(child.id)", name)
      return Int(ended.text.split(separator: " ").last?.trimmingCharacters(in: .whitespacesAndNewlines) ?? "") ?? -1
    }
    for round in 0..<6 {
      let isOn = round % 2 == 0
      let ended = try stave("set", "\(child.id)", "check=\(isOn ? 1 : 0)")
      #expect(ended.status == 0 && ended.text == "stave.check: \(isOn ? 0 : 1) -> \(isOn ? 1 : 0)\n", ended.report)
      let before = try get("vm.debug.trashed")
      if isOn {
        #expect(wait { ((try? get("vm.debug.trashed")) ?? 0) > before + 1000 })
        let table = try stave("sum", "--json", "\(child.id)")
        let sums = try #require(try JSONSerialization.jsonObject(with: table.output) as? [String: Any], table.report)
        #expect((sums["cached"] as? Int) == 0, table.report)
        let divisor = try stave("set", "\(child.id)", "vm.debug.divisor=\(round + 1)")
        #expect(divisor.status == 0, divisor.report)
      } else {
        // What was under way at the switch is counted yet.
        #expect(wait {
          let rest = try? get("vm.debug.trashed")
          usleep(100_000)
          return (try? get("vm.debug.trashed")) == rest
        })
      }
    }
    #expect(try get("vm.debug.damaged") == 0)
    #expect(try stave("set", "\(child.id)", "check=1").status == 0)
    kill(child.id, SIGUSR1)
    let ended = child.end(within: 30)
    #expect(ended.signal == SIGABRT && ended.errorText.contains("double free") && ended.errorText.contains("in zone malloc-80"), ended.report)
    #expect(!ended.text.contains("spoilt") && !ended.text.contains("unnoticed"), ended.report)
  }
}
