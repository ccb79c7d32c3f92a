// SPDX-License-Identifier: BSD-2-Clause
//
// What a thousand threads leave behind. All of them stay alive, asleep, until resident memory has been read.
// threads-at-once: all run together, each turning over 10,000 blocks of 16 bytes to 32 KiB with at most 100 live, and
// frees them all. threads-in-turn: one after another, each has 10,000 blocks live at once, frees them, and sleeps.

#include "workload.h"
#include <pthread.h>
#include <unistd.h>

enum { threadCount = 1000, turnover = 10000, liveAtMost = 100 };

static struct {
  uint64_t handles[threadCount], seed, sum;
  uint64_t *blocks[turnover];  // of the one thread whose turn it is
  int done, leave;
  pthread_mutex_t lock;
  pthread_cond_t changed;
} dormitory = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/// 16 bytes to 32 KiB, the smaller of two draws: small blocks are common, as in most programs; the mean is 1.2 KB.
static size_t drawMixed(uint64_t *state) {
  size_t one = drawSize(state, 4, 15), other = drawSize(state, 4, 15);
  return one < other ? one : other;
}

static void sleepUntilTheEnd(uint64_t sum) {
  pthread_mutex_lock(&dormitory.lock);
  dormitory.sum += sum;
  dormitory.done++;
  pthread_cond_broadcast(&dormitory.changed);
  while (!dormitory.leave) pthread_cond_wait(&dormitory.changed, &dormitory.lock);
  pthread_mutex_unlock(&dormitory.lock);
}

static void awaitSleepers(int count) {
  pthread_mutex_lock(&dormitory.lock);
  while (dormitory.done < count) pthread_cond_wait(&dormitory.changed, &dormitory.lock);
  pthread_mutex_unlock(&dormitory.lock);
}

static void *turnOver(void *argument) {
  uint64_t state = dormitory.seed + (uint64_t)(uintptr_t)argument, sum = 0, *live[liveAtMost] = {0};
  for (uint64_t i = 0; i < turnover; i++) {
    uint64_t **slot = &live[drawBelow(&state, liveAtMost)];
    if (*slot) sum += dispose(*slot);
    *slot = allocate(drawMixed(&state), i);
  }
  for (int i = 0; i < liveAtMost; i++)
    if (live[i]) sum += dispose(live[i]);
  sleepUntilTheEnd(sum);
  return NULL;
}

static void *fillAndEmpty(void *argument) {
  uint64_t state = dormitory.seed + (uint64_t)(uintptr_t)argument, sum = 0;
  for (uint64_t i = 0; i < turnover; i++) dormitory.blocks[i] = allocate(drawMixed(&state), i);
  for (uint64_t i = 0; i < turnover; i++) sum += dispose(dormitory.blocks[i]);
  sleepUntilTheEnd(sum);
  return NULL;
}

static void measure(Run *run, Body *body, int inTurn) {
  dormitory.seed = run->seed;
  reportFigure("start_kib", residentKiB());
  begin(run);
  for (uintptr_t i = 0; i < threadCount; i++) {
    startThread(&dormitory.handles[i], body, (void *)i, -1);
    if (inTurn) awaitSleepers((int)i + 1);
  }
  awaitSleepers(threadCount);
  end(run);
  usleep(2000000);
  reportFigure("resident_kib", residentKiB());
  pthread_mutex_lock(&dormitory.lock);
  dormitory.leave = 1;
  pthread_cond_broadcast(&dormitory.changed);
  pthread_mutex_unlock(&dormitory.lock);
  for (int i = 0; i < threadCount; i++) joinThread(dormitory.handles[i]);
  run->ops = (uint64_t)threadCount * turnover;
  run->checksum = dormitory.sum;
}

void threadsAtOnce(Run *run) { measure(run, turnOver, 0); }
void threadsInTurn(Run *run) { measure(run, fillAndEmpty, 1); }
