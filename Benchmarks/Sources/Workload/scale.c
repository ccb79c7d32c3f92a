// SPDX-License-Identifier: BSD-2-Clause
//
// Does an operation cost more when there is more of everything? Each prints the cost of replacing a random block:
// scale-live N among N small blocks, scale-large N among N blocks of 32 to 64 KiB of which one page is written,
// scale-threads N in N threads at once that share a fixed amount of work and of live blocks (as CPU time, for one
// thread cannot use two CPUs).

#include "workload.h"
#include <sys/mman.h>

static uint64_t **table(uint64_t count) {
  void *memory = mmap(NULL, count * sizeof(uint64_t *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("no memory for a table");
  return memory;
}

static uint64_t replaceSome(uint64_t **blocks, uint64_t live, uint64_t count, unsigned low, unsigned high, uint64_t state) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t **slot = &blocks[drawBelow(&state, live)];
    sum += dispose(*slot);
    *slot = allocate(drawSize(&state, low, high), i);
  }
  return sum;
}

static void fill(uint64_t **blocks, uint64_t live, unsigned low, unsigned high, uint64_t state) {
  for (uint64_t i = 0; i < live; i++) blocks[i] = allocate(drawSize(&state, low, high), i);
}

static uint64_t empty(uint64_t **blocks, uint64_t live) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < live; i++) sum += dispose(blocks[i]);
  return sum;
}

static void measure(Run *run, uint64_t count, unsigned low, unsigned high) {
  uint64_t live = run->argument, **blocks = table(live);
  fill(blocks, live, low, high, run->seed);
  run->checksum = replaceSome(blocks, live, count / 4 + 1, low, high, run->seed + 1);
  begin(run);
  run->checksum += replaceSome(blocks, live, count, low, high, run->seed + 2);
  end(run);
  run->checksum += empty(blocks, live);
  run->ops = count;
}

void scaleLive(Run *run) { measure(run, scaled(run, 5000000), 4, 7); }
void scaleLarge(Run *run) { measure(run, scaled(run, 500000), 15, 16); }

enum { liveTogether = 100000, mostThreads = 1000 };
static struct { uint64_t live, count, seed, sums[mostThreads], handles[mostThreads]; } shared;

static void *replace(void *argument) {
  uint64_t self = (uint64_t)(uintptr_t)argument, state = shared.seed + self, **blocks = table(shared.live);
  fill(blocks, shared.live, 4, 10, state);
  shared.sums[self] = replaceSome(blocks, shared.live, shared.count, 4, 10, state) + empty(blocks, shared.live);
  munmap(blocks, shared.live * sizeof(uint64_t *));
  return NULL;
}

void scaleThreads(Run *run) {
  uint64_t threads = run->argument < mostThreads ? run->argument : mostThreads, total = scaled(run, 10000000);
  shared.live = liveTogether / threads;
  shared.count = total / threads;
  shared.seed = run->seed;
  run->begun = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (uintptr_t i = 0; i < threads; i++) startThread(&shared.handles[i], replace, (void *)i, -1);
  for (uint64_t i = 0; i < threads; i++) joinThread(shared.handles[i]), run->checksum += shared.sums[i];
  run->ended = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  run->ops = shared.count * threads;
}
