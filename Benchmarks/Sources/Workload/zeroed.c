// SPDX-License-Identifier: BSD-2-Clause
//
// zeroed: calloc of 16 bytes to 128 KiB with 256 blocks live. Each block is checked for zero at a few places and then
// soiled there, so that an allocator that forgets to clear a used block is found out.

#include "workload.h"

enum { liveBlocks = 256 };

static uint64_t *allocateZeroed(size_t size, uint64_t mark) {
  uint64_t *block = calloc(1, size);
  if (!block) die("out of memory");
  char *bytes = (char *)block;
  if (bytes[0] | bytes[size / 2] | bytes[size - 1]) die("calloc returned soiled memory");
  bytes[size / 2] = bytes[size - 1] = 1;
  *block = mark;
  keep(block);
  return block;
}

void zeroed(Run *run) {
  static uint64_t *blocks[liveBlocks];
  uint64_t count = scaled(run, 3000000), state = run->seed, sum = 0;
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t **slot = &blocks[drawBelow(&state, liveBlocks)];
    if (*slot) sum += dispose(*slot);
    *slot = allocateZeroed(drawSize(&state, 4, 17), i);
  }
  end(run);
  for (int i = 0; i < liveBlocks; i++)
    if (blocks[i]) sum += dispose(blocks[i]);
  run->ops = count;
  run->checksum = sum;
}
