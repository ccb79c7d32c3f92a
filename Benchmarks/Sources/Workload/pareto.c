// SPDX-License-Identifier: BSD-2-Clause
//
// pareto: sizes and life times both have heavy tails, as in real programs: most blocks are small and die young, a few
// are large, a few live long. A wheel of dates holds the blocks, linked through their first words.

#include "workload.h"

enum { dates = 1 << 16, largestBlock = 256 << 10 };
typedef struct Block { struct Block *next; uint64_t mark; } Block;

/// A Pareto distribution of exponent 1: `least` over an even number in (0, 1], cut off at `most`.
static uint64_t drawPareto(uint64_t *state, uint64_t least, uint64_t most) {
  uint64_t value = (least << 32) / ((draw(state) >> 32) + 1);
  return value < most ? value : most;
}

static uint64_t buryAll(Block **date) {
  uint64_t sum = 0;
  for (Block *block = *date, *next; block; block = next) {
    next = block->next;
    sum += block->mark;
    free(block);
  }
  *date = NULL;
  return sum;
}

void pareto(Run *run) {
  static Block *wheel[dates];
  uint64_t count = scaled(run, 48000000), state = run->seed, sum = 0;
  begin(run);
  for (uint64_t now = 0; now < count; now++) {
    sum += buryAll(&wheel[now % dates]);
    Block *block = (Block *)allocate(drawPareto(&state, sizeof(Block), largestBlock), 0);
    Block **date = &wheel[(now + drawPareto(&state, 4, dates - 1)) % dates];
    *block = (Block){.next = *date, .mark = now};
    *date = block;
  }
  for (int date = 0; date < dates; date++) sum += buryAll(&wheel[date]);
  end(run);
  run->ops = count;
  run->checksum = sum;
}
