// SPDX-License-Identifier: BSD-2-Clause
//
// A program that is looked at from outside: it holds 3,000 blocks of a size that nothing else uses, and runs the command in
// its arguments with %d replaced by its own process ID.

#include "scenario.h"

int main(int count, char **arguments) {
  (void)count;
  static void *blocks[3000];
  for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    blocks[i] = malloc(15000);
    CHECK(blocks[i], "15000 bytes: %s", strerror(errno));
  }
  char command[2000];
  CHECK(snprintf(command, sizeof command, arguments[1], (int)getpid()) < (int)sizeof command, "the command is too long");
  fflush(stdout);
  int status = system(command);
  CHECK(status == 0, "'%s' ended with status %#x", command, status);
  for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
  return 0;
}
