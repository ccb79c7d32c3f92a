// SPDX-License-Identifier: BSD-2-Clause
//
// A program with more rights than its caller (AT_SECURE) must not listen to the caller's options. The dynamic linker drops
// a LD_PRELOAD path for such programs, so the runner links this one against the library and makes a copy setuid root.
//
//   secure report                 uses the heap, then prints whether the kernel set AT_SECURE
//   secure as USER PROGRAM ROLE   runs PROGRAM ROLE as the unprivileged user number USER

#include <grp.h>
#include <sys/auxv.h>

#include "scenario.h"

int main(int count, char **arguments) {
  if (count == 5 && !strcmp(arguments[1], "as")) {
    unsigned user = (unsigned)strtoul(arguments[2], NULL, 10);
    if (setgroups(0, NULL) || setgid(user) || setuid(user)) skip("changing to an unprivileged user needs root");
    execl(arguments[3], arguments[3], arguments[4], (char *)NULL);
    fprintf(stderr, "%s: %s\n", arguments[3], strerror(errno));
    return 98;
  }
  for (unsigned i = 0; i < 3000; i++) {
    void *block = malloc(probeSize(i % 1500));
    CHECK(block, "%s", strerror(errno));
    free(block);
  }
  printf("AT_SECURE %lu\n", getauxval(AT_SECURE));
  return 0;
}
