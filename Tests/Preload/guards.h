// SPDX-License-Identifier: BSD-2-Clause
//
// What programs under MemGuard share (guards.c, guard-handlers.c): touches, a guarded block, and roles by name.

#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "scenario.h"

/// A touch that no compiler removes, in a function whose name the report's stack has.
__attribute__((noinline)) static void poke(volatile char *place) { *place = 1; }

/// A small one lies where pages are moved to, since one has been freed; larger ones lie elsewhere.
static char *block(size_t size) {
  free(hide(malloc(10)));
  char *result = hide(malloc(size));
  CHECK(result, "%zu bytes: %s", size, strerror(errno));
  memset(result, 0x11, size);
  return result;
}

struct guardRole {
  const char *name;
  void (*body)(void);
};

/// Of `known`, which end with one without a name.
static int playRole(int count, char **arguments, const struct guardRole *known) {
  begin(count, arguments);
  for (; known->name && strcmp(role, known->name); known++) {}
  CHECK(known->name || !*role, "there is no role %s", role);
  if (known->name) known->body();
  return 0;
}
