// SPDX-License-Identifier: BSD-2-Clause
//
// brief: many threads that live for a few hundred operations, two at a time: a thread per request. Each also frees the
// few blocks that its predecessor left behind. Setting up and taking down a thread's caches is what shows here.

#include "workload.h"

enum { lanes = 2, blocksEach = 300, legacyLength = 20 };
typedef struct { uint64_t *legacy[legacyLength]; uint64_t state, sum; } Lane;

static void *live(void *argument) {
  Lane *lane = argument;
  uint64_t state = lane->state, *blocks[blocksEach];
  for (int i = 0; i < blocksEach; i++) blocks[i] = allocate(drawSize(&state, 4, 12), (uint64_t)i);
  for (int i = 0; i < legacyLength; i++) {
    if (lane->legacy[i]) lane->sum += dispose(lane->legacy[i]);
    lane->legacy[i] = blocks[i];
  }
  for (int i = legacyLength; i < blocksEach; i++) lane->sum += dispose(blocks[i]);
  lane->state = state;
  return NULL;
}

void brief(Run *run) {
  Lane rows[lanes] = {0};
  uint64_t generations = scaled(run, 15000), threads[lanes];
  for (int i = 0; i < lanes; i++) rows[i].state = run->seed + (uint64_t)i;
  begin(run);
  for (uint64_t generation = 0; generation < generations; generation++) {
    for (int i = 0; i < lanes; i++) startThread(&threads[i], live, &rows[i], -1);
    for (int i = 0; i < lanes; i++) joinThread(threads[i]);
  }
  end(run);
  for (int i = 0; i < lanes; i++) {
    run->checksum += rows[i].sum;
    for (int j = 0; j < legacyLength; j++) run->checksum += dispose(rows[i].legacy[j]);
  }
  run->ops = generations * lanes * blocksEach;
}
