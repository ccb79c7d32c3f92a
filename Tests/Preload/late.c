// SPDX-License-Identifier: BSD-2-Clause
//
// late: touches a block after its end. lost: leaves one behind. Where it was asked for, and where it ended, a report says.

#include "scenario.h"

static char *volatile sink;

static __attribute__((noinline)) char *make(size_t size) {
  char *block = malloc(size);
  block[0] = 1;
  return block;
}

static __attribute__((noinline)) void drop(char *block) {
  block[0] = 2;
  free(block);
  sink = block;
}

int main(int count, char **arguments) {
  CHECK(count == 2, "late or lost");
  char *block = make(hideSize(100));
  if (!strcmp(arguments[1], "lost")) return 0;
  drop(block);
  *(volatile char *)hide(block) = 3;
  return 0;
}
