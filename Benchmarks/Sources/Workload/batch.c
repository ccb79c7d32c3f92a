// SPDX-License-Identifier: BSD-2-Clause
//
// batch SIZE: a thousand blocks are allocated, then freed oldest first, again and again: more than fits into the smallest
// caches, and in the order that a stack of free blocks likes least.

#include "workload.h"

enum { batchLength = 1000 };

void batch(Run *run) {
  static uint64_t *blocks[batchLength];
  size_t size = run->argument;
  // Fewer of the large ones: glibc, which trims after each batch, would take half a minute.
  uint64_t rounds = scaled(run, size < 512 ? 64000 : 20000), sum = 0;
  begin(run);
  for (uint64_t round = 0; round < rounds; round++) {
    for (int i = 0; i < batchLength; i++) blocks[i] = allocate(size, round + (uint64_t)i);
    for (int i = 0; i < batchLength; i++) sum += dispose(blocks[i]);
  }
  end(run);
  run->ops = rounds * batchLength;
  run->checksum = sum;
}
