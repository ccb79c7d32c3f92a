// SPDX-License-Identifier: BSD-2-Clause
//
// mailboxes: four threads throw blocks into random boxes of a shared row and free what they find there. Nobody owns
// anything for long, and most blocks die in a thread that did not make them.

#include "workload.h"
#include <stdatomic.h>

enum { workers = 4, boxes = 8192 };

static struct {
  uint64_t *_Atomic boxes[boxes];
  uint64_t sums[workers * 8], count, seed;  // a cache line for each sum
} row;

static void *post(void *argument) {
  uint64_t self = (uint64_t)(uintptr_t)argument, state = row.seed + self, sum = 0;
  for (uint64_t i = 0; i < row.count; i++) {
    uint64_t *letter = allocate(drawSize(&state, 4, 10), i);
    letter = atomic_exchange_explicit(&row.boxes[drawBelow(&state, boxes)], letter, memory_order_acq_rel);
    if (letter) sum += dispose(letter);
  }
  row.sums[self * 8] = sum;
  return NULL;
}

void mailboxes(Run *run) {
  uint64_t threads[workers];
  row.count = scaled(run, 5000000);
  row.seed = run->seed;
  begin(run);
  for (uintptr_t i = 0; i < workers; i++) startThread(&threads[i], post, (void *)i, -1);
  for (int i = 0; i < workers; i++) joinThread(threads[i]);
  end(run);
  for (int i = 0; i < workers; i++) run->checksum += row.sums[i * 8];
  for (int i = 0; i < boxes; i++)
    if (row.boxes[i]) run->checksum += dispose(row.boxes[i]);
  run->ops = row.count * workers;
}
