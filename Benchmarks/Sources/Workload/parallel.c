// SPDX-License-Identifier: BSD-2-Clause
//
// parallel: two threads that share nothing, each with 20,000 live blocks of random life times. It should take no longer
// than one thread alone; where it does, the allocator's own structures are the cause.

#include "workload.h"

enum { workers = 2, liveBlocks = 20000 };
typedef struct { uint64_t *blocks[liveBlocks]; uint64_t seed, count, sum; } Field;

static void *till(void *argument) {
  Field *field = argument;
  uint64_t state = field->seed, sum = 0;
  for (int i = 0; i < liveBlocks; i++) field->blocks[i] = allocate(drawSize(&state, 4, 11), (uint64_t)i);
  for (uint64_t i = 0; i < field->count; i++) {
    uint64_t **slot = &field->blocks[drawBelow(&state, liveBlocks)];
    sum += dispose(*slot);
    *slot = allocate(drawSize(&state, 4, 11), i);
  }
  for (int i = 0; i < liveBlocks; i++) sum += dispose(field->blocks[i]);
  field->sum = sum;
  return NULL;
}

void parallel(Run *run) {
  static Field fields[workers];
  uint64_t threads[workers], count = scaled(run, 30000000);
  begin(run);
  for (int i = 0; i < workers; i++) {
    fields[i].seed = run->seed + (uint64_t)i;
    fields[i].count = count;
    startThread(&threads[i], till, &fields[i], i);
  }
  for (int i = 0; i < workers; i++) joinThread(threads[i]);
  end(run);
  for (int i = 0; i < workers; i++) run->checksum += fields[i].sum;
  run->ops = count * workers;
}
