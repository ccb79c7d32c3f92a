// SPDX-License-Identifier: BSD-2-Clause
//
// lifetimes: 100,000 live blocks of 16 to 1024 bytes; a random one dies and another of a random size takes its place.
// The working set is larger than the processor's caches, so what counts is how few lines an allocator touches.

#include "workload.h"

enum { liveBlocks = 100000 };

void lifetimes(Run *run) {
  static uint64_t *blocks[liveBlocks];
  uint64_t count = scaled(run, 12000000), state = run->seed, sum = 0;
  for (int i = 0; i < liveBlocks; i++) blocks[i] = allocate(16 + drawBelow(&state, 1009), (uint64_t)i);
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t **slot = &blocks[drawBelow(&state, liveBlocks)];
    sum += dispose(*slot);
    *slot = allocate(16 + drawBelow(&state, 1009), i);
  }
  end(run);
  for (int i = 0; i < liveBlocks; i++) sum += dispose(blocks[i]);
  run->ops = count;
  run->checksum = sum;
}
