// SPDX-License-Identifier: BSD-2-Clause
//
// handoff: one thread allocates, another frees everything, on two CPUs. Between them lies a ring of pointers that is
// published in steps of 64, so that the ring costs little and the frees from a foreign thread are what is measured.

#include "workload.h"
#include <sched.h>
#include <stdatomic.h>

enum { ringSize = 4096, stride = 64 };

static struct {
  uint64_t *blocks[ringSize];
  _Alignas(64) _Atomic uint64_t written;
  _Alignas(64) _Atomic uint64_t consumed;
  uint64_t count, sum, seed;
} ring;

/// Waits until the other side's counter has reached `goal`; gives way at times, in case both share a CPU.
static void await(_Atomic uint64_t *counter, uint64_t goal) {
  for (int turns = 0; atomic_load_explicit(counter, memory_order_acquire) < goal;)
    if (++turns % 256 == 0) sched_yield();
}

static void *produce(void *unused) {
  uint64_t state = ring.seed;
  for (uint64_t i = 0; i < ring.count; i++) {
    if (i % stride == 0) {
      atomic_store_explicit(&ring.written, i, memory_order_release);
      if (i >= ringSize - stride) await(&ring.consumed, i - (ringSize - stride));
    }
    ring.blocks[i % ringSize] = allocate(16 + drawBelow(&state, 240), i);
  }
  atomic_store_explicit(&ring.written, ring.count, memory_order_release);
  return unused;
}

static void *consume(void *unused) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < ring.count; i++) {
    if (i % stride == 0) {
      atomic_store_explicit(&ring.consumed, i, memory_order_release);
      await(&ring.written, i + stride < ring.count ? i + stride : ring.count);
    }
    sum += dispose(ring.blocks[i % ringSize]);
  }
  ring.sum = sum;
  return unused;
}

void handoff(Run *run) {
  uint64_t threads[2];
  ring.count = scaled(run, 10000000);
  ring.seed = run->seed;
  begin(run);
  startThread(&threads[0], produce, NULL, 0);
  startThread(&threads[1], consume, NULL, 1);
  joinThread(threads[0]);
  joinThread(threads[1]);
  end(run);
  run->ops = ring.count;
  run->checksum = ring.sum;
}
