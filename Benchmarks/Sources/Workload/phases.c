// SPDX-License-Identifier: BSD-2-Clause
//
// phases: threads in step. Each allocates a batch; all meet; each frees its neighbour's batch; all meet. Everything is
// freed by a stranger, in bursts that outgrow any cache.

#include "workload.h"
#include <pthread.h>

enum { workers = 2, batchLength = 20000 };

static struct {
  uint64_t *blocks[workers][batchLength];
  uint64_t sums[workers], rounds, seed;
  pthread_barrier_t meeting;
} hall;

static void *work(void *argument) {
  uint64_t self = (uint64_t)(uintptr_t)argument, state = hall.seed + self, sum = 0;
  uint64_t **mine = hall.blocks[self], **theirs = hall.blocks[(self + 1) % workers];
  for (uint64_t round = 0; round < hall.rounds; round++) {
    for (int i = 0; i < batchLength; i++) mine[i] = allocate(drawSize(&state, 4, 9), round + (uint64_t)i);
    pthread_barrier_wait(&hall.meeting);
    for (int i = 0; i < batchLength; i++) sum += dispose(theirs[i]);
    pthread_barrier_wait(&hall.meeting);
  }
  hall.sums[self] = sum;
  return NULL;
}

void phases(Run *run) {
  uint64_t threads[workers];
  hall.rounds = scaled(run, 500);
  hall.seed = run->seed;
  pthread_barrier_init(&hall.meeting, NULL, workers);
  begin(run);
  for (uintptr_t i = 0; i < workers; i++) startThread(&threads[i], work, (void *)i, (int)i);
  for (int i = 0; i < workers; i++) joinThread(threads[i]);
  end(run);
  for (int i = 0; i < workers; i++) run->checksum += hall.sums[i];
  run->ops = hall.rounds * workers * batchLength;
}
