// SPDX-License-Identifier: BSD-2-Clause
//
// Controls in programs that work: what a change of theirs does there.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct ControlsTests {
  /// What the kernel is asked to allow is caught on its way by a seccomp filter, so that it shows where there is no Yama.
  @Test func `a program is opened to all looks of its user, and closed again, while it works`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("inspect while a program works: no compiler") }
    let folder = Folder()
    let source = folder.write(
      """
      #define _GNU_SOURCE
      #include <linux/filter.h>
      #include <linux/seccomp.h>
      #include <signal.h>
      #include <stddef.h>
      #include <stdlib.h>
      #include <sys/prctl.h>
      #include <sys/syscall.h>
      #include <ucontext.h>
      #include <unistd.h>
      static void notice(int number, siginfo_t *information, void *context) {
        long allowed = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RSI];
        if (write(1, allowed == -1 ? "all\\n" : allowed == 0 ? "none\\n" : "other\\n", allowed == -1 ? 4 : allowed == 0 ? 5 : 6) < 0) _exit(1);
      }
      int main(void) {
        free(malloc(100));
        struct sock_filter filter[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_PTRACER, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
        struct sigaction action = {.sa_sigaction = notice, .sa_flags = SA_SIGINFO};
        sigaction(SIGSYS, &action, 0);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 77;
        if (write(1, "ready\\n", 6) < 0) return 1;
        for (;;) { free(malloc(1 << 20)); usleep(1000); }
      }
      """, "opened.c")
    let built = try run(compiler, ["-O1", "-fno-builtin", source, "-o", folder.file("opened")])
    try #require(built.succeeded, built.report)
    let started = try Started(folder.file("opened"), environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "background:0"])
    defer { kill(started.id, SIGKILL) }
    guard wait({ started.printed == "ready\n" || kill(started.id, 0) != 0 }), started.printed == "ready\n" else {
      return announceSkip("inspect while a program works: seccomp filters are not to be had")
    }
    #expect(try stave("set", "\(started.id)", "inspect=any").text == "stave.inspect: descendants -> any\n")
    #expect(started.printed == "ready\nall\n")
    #expect(try stave("set", "\(started.id)", "stave.inspect=any", "inspect=descendants").status == 0)
    #expect(started.printed == "ready\nall\nnone\n")
    #expect(try stave("get", "\(started.id)", "kern.malloc_count").text == "kern.malloc_count: 1\n")
  }
}
