// SPDX-License-Identifier: BSD-2-Clause
//
// Prints how often a child of fork asks the kernel to let every process of its user look into it (PR_SET_PTRACER). The question
// is caught on its way by a seccomp filter, so that it shows where the kernel has no Yama to answer it.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "scenario.h"

static volatile sig_atomic_t asked;

static void notice(int number) {
  (void)number;
  asked++;
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
  signal(SIGSYS, notice);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
    printf("SKIPPED: seccomp filters are not to be had: %s\n", strerror(errno));
    return 77;
  }
  pid_t child = fork();
  if (child == 0) {
    free(malloc(100));
    printf("%d\n", (int)asked);
    return 0;
  }
  int status = 0;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
  CHECK(asked == 0, "the parent asked again");
  return 0;
}
