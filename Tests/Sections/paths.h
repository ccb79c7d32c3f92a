// SPDX-License-Identifier: BSD-2-Clause
//
// What is tried: the paths through the four sections, and what happens to a thread while it stands at an instruction.

#ifndef PATHS_H
#define PATHS_H

#include "model.h"

typedef struct {
  const char *name;
  Step request;
  unsigned fill[2];
  bool commits, topStays;  // `topStays`: only disturbances that leave the item on top where it is
} Path;

static const Path paths[] = {
  {"pop", {POP, 0, 0}, {6, 3}, true, false},
  {"pop, the last", {POP, 0, 0}, {1, 4}, true, false},
  {"pop, none", {POP, 0, 0}, {0, 3}, false, false},
  {"push", {PUSH, 0, 0}, {6, 3}, true, false},
  {"push, the first", {PUSH, 0, 0}, {0, 11}, true, false},
  {"push, full", {PUSH, 0, 0}, {cellRoom, 3}, false, false},
  {"push, foreign", {PUSH_FOREIGN, 0, 0}, {6, 3}, false, false},
  {"push, again", {PUSH_AGAIN, 0, 0}, {6, 3}, false, true},
  {"fill", {FILL, 0, 5}, {4, 3}, true, false},
  {"fill, in part", {FILL, 0, 5}, {10, 3}, true, false},
  {"fill, full", {FILL, 0, 5}, {cellRoom, 3}, false, false},
  {"flush", {FLUSH, 0, 4}, {6, 3}, true, false},
  {"flush, fewer", {FLUSH, 0, 4}, {3, 6}, true, false},
  {"flush, none", {FLUSH, 0, 4}, {0, 6}, false, false},
};
enum { pathCount = sizeof paths / sizeof paths[0] };

typedef struct {
  const char *name;
  bool keepsTop, twice, signal, migrate;
  Step helper[8], handler[6], after[3];
} Disturbance;

//   stop, twice     stopped only, once or again after the restart      sig, sig=, sig+  signal: nothing, pop and push back, more
//   use             another thread on the same CPU uses the cell       move, move+      to the other CPU, cells in use meanwhile
//   both, back      moved and signalled, back again by the handler     empty, swap      emptied from outside; with other items in
//   cold, cold+     the CPU stays frozen until the operation is over   all              frozen, emptied, refilled, moved, signalled
static const Disturbance disturbances[] = {
  {.name = "stop", .keepsTop = true},
  {.name = "twice", .keepsTop = true, .twice = true},
  {.name = "sig", .keepsTop = true, .signal = true},
  {.name = "sig=", .keepsTop = true, .signal = true, .handler = {{POP, 0, 0}, {PUSH, 0, 0}}},
  {.name = "sig+", .signal = true, .handler = {{POP, 0, 0}, {POP, 0, 0}, {FILL, 0, 2}, {FLUSH, 0, 3}, {PUSH, 0, 0}}},
  {.name = "use", .helper = {{POP, 0, 0}, {PUSH, 0, 0}, {FLUSH, 0, 2}, {FILL, 0, 2}, {POP, 0, 0}}},
  {.name = "move", .migrate = true},
  {.name = "move+", .migrate = true, .helper = {{POP, 0, 0}, {FLUSH, 0, 1}, {PUSH, 0, 0}, {POP, 1, 0}, {FILL, 1, 1}, {POP, 1, 0}}},
  {.name = "both", .signal = true, .migrate = true, .helper = {{FLUSH, 0, 3}, {PUSH, 0, 0}}, .handler = {{POP, 0, 0}, {POP, 0, 0}, {PUSH, 0, 0}}},
  {.name = "back", .signal = true, .migrate = true, .helper = {{POP, 0, 0}}, .handler = {{POP, 0, 0}, {HOP, 0, 0}, {PUSH, 0, 0}}},
  {.name = "empty", .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {THAW, 0, 0}}},
  {.name = "swap", .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {REFILL, 0, 4}, {THAW, 0, 0}}},
  {.name = "cold", .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}}, .after = {{THAW, 0, 0}}},
  {.name = "cold+", .signal = true, .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {REFILL, 0, 2}}, .handler = {{POP, 0, 0}, {PUSH, 0, 0}, {FILL, 0, 2}}, .after = {{THAW, 0, 0}}},
  {.name = "all", .signal = true, .migrate = true, .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {FREEZE, 1, 0}, {REFILL, 1, 5}, {THAW, 1, 0}, {THAW, 0, 0}}, .handler = {{POP, 0, 0}, {POP, 0, 0}}},
};
enum { disturbanceCount = sizeof disturbances / sizeof disturbances[0] };

static uintptr_t entryOf(const Path *path) {
  switch (path->request.kind) {
  case POP: return (uintptr_t)reallyPop;
  case FILL: return (uintptr_t)reallyFill;
  case FLUSH: return (uintptr_t)reallyFlush;
  default: return (uintptr_t)reallyPush;
  }
}

/// From rest, everything in its first state, the subject on its first CPU, to the operation's first instruction.
static void enter(const Path *path, Model *model) {
  begin(model, path->fill);
  world->request = path->request;
  memset(world->handlerSteps, 0, sizeof world->handlerSteps);
  world->handled = 0;
  move(0);
  uintptr_t at, steps = 0;
  if (hasBreakpoints) {
    breakAt(entryOf(path), 0);
    at = go(PTRACE_CONT, 0);
    breakAt(0, 0);
  } else {
    do at = go(PTRACE_SINGLESTEP, 0); while (at != entryOf(path) && ++steps < 1000);
  }
  if (at != entryOf(path)) giveUp("stopped at %#lx before the operation began", at);
  setDescriptor(0);
}

#endif
