// SPDX-License-Identifier: BSD-2-Clause
//
// large: one block after another of 32 KiB to 1 MiB, of which only the first word is written: does the allocator keep
// such blocks, or ask the system for each?
// large-mix: 24 of them live, random sizes; every eighth is written page by page, as a buffer that is really used.

#include "workload.h"

enum { smallest = 15, greatest = 20, liveBlocks = 24, page = 4096 };

void large(Run *run) {
  uint64_t count = scaled(run, 8000000), sum = 0;
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    // Eight of a size in a row, then the next: 32 KiB … 1 MiB and round again.
    size_t size = (size_t)1 << (smallest + i / 8 % (greatest - smallest + 1));
    sum += dispose(allocate(size, i));
  }
  end(run);
  run->ops = count;
  run->checksum = sum;
}

static void writePages(uint64_t *block, size_t size) {
  for (size_t at = page; at < size; at += page) ((volatile char *)block)[at] = 1;
}

void largeMix(Run *run) {
  uint64_t *blocks[liveBlocks] = {0};
  uint64_t count = scaled(run, 1200000), state = run->seed, sum = 0;
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t **slot = &blocks[drawBelow(&state, liveBlocks)];
    if (*slot) sum += dispose(*slot);
    size_t size = drawSize(&state, smallest, greatest);
    *slot = allocate(size, i);
    if (i % 8 == 0) writePages(*slot, size);
  }
  for (int i = 0; i < liveBlocks; i++)
    if (blocks[i]) sum += dispose(blocks[i]);
  end(run);
  run->ops = count;
  run->checksum = sum;
}
