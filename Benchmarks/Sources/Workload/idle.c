// SPDX-License-Identifier: BSD-2-Clause
//
// What an idle program gives back. It grows to 1 GB of blocks of 16 bytes to 4 KiB, all written, frees most of them, and
// sleeps for ten seconds without a single call. idle keeps the 50 MB that were allocated first; idle-random keeps one
// block in twenty, wherever it lies. The blocks are linked through their first words: no table adds to the sum.

#include "workload.h"
#include <string.h>
#include <unistd.h>

enum { grownTo = 1000000000, keptFirst = 50000000, keptInTwenty = 1 };
typedef struct Block { struct Block *next; uint64_t size; } Block;

static Block *push(Block *list, size_t size) {
  Block *block = malloc(size);
  if (!block) die("out of memory");
  memset(block, 0x5a, size);
  *block = (Block){.next = list, .size = size};
  return block;
}

static uint64_t freeAll(Block *list) {
  uint64_t bytes = 0;
  for (Block *next; list; list = next) {
    next = list->next;
    bytes += list->size;
    free(list);
  }
  return bytes;
}

/// Says of a block whether it is to survive: by the bytes allocated before it, or by chance.
typedef int Choice(uint64_t before, uint64_t *state);
static int first(uint64_t before, uint64_t *state) { return (void)state, before < keptFirst; }
static int oneInTwenty(uint64_t before, uint64_t *state) { return (void)before, drawBelow(state, 20) < keptInTwenty; }

static void measure(Run *run, Choice *survives) {
  uint64_t state = run->seed, grown = 0;
  Block *kept = NULL, *dropped = NULL;
  uint64_t start = residentKiB();
  while (grown < grownTo) {
    size_t size = drawSize(&state, 4, 12);
    Block **list = survives(grown, &state) ? &kept : &dropped;
    *list = push(*list, size);
    grown += size;
  }
  uint64_t full = residentKiB(), freed = freeAll(dropped), after = residentKiB();
  sleep(10);
  uint64_t rested = residentKiB();
  reportFigure("start_kib", start);
  reportFigure("full_kib", full - start);
  reportFigure("freed_kib", after - start);
  reportFigure("resident_kib", rested - start);
  reportFigure("live_kib", (grown - freed) / 1024);
  run->checksum = freed + freeAll(kept);
}

void idle(Run *run) { measure(run, first); }
void idleRandom(Run *run) { measure(run, oneInTwenty); }
