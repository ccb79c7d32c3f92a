// SPDX-License-Identifier: BSD-2-Clause
//
// Threads that hop between CPUs: each moves itself to a random CPU every few operations, and another thread moves them in
// the middle of whatever they do. A per-CPU cache that is entered on one CPU and left on another would hand a block out
// twice, or lose it: the first shows in the patterns, the second as memory that grows.

#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "scenario.h"

enum { workers = 4, slots = 256 };
static int cpus[CPU_SETSIZE], cpuCount;
static _Atomic pid_t threadIDs[workers];
static atomic_int running;

static void hop(pid_t thread, Random *random) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpus[below(random, (uint64_t)cpuCount)], &set);
  // ESRCH: the thread has just ended. EINVAL: the CPU has just been taken away from us.
  if (sched_setaffinity(thread, sizeof set, &set) != 0) CHECK(errno == ESRCH || errno == EINVAL, "sched_setaffinity: %s", strerror(errno));
}

static void *work(void *argument) {
  uintptr_t number = (uintptr_t)argument;
  Random random = randomFrom(number);
  atomic_store(&threadIDs[number], (pid_t)syscall(SYS_gettid));
  static const size_t hot[] = {16, 24, 64, 100, 512, 1000, 4096, 20000};
  void *blocks[slots] = {0};
  size_t sizes[slots] = {0};
  for (unsigned long step = 0; step < scaled(700000); step++) {
    unsigned slot = (unsigned)below(&random, slots);
    if (blocks[slot]) {
      verify(blocks[slot], sizes[slot], tagOf(blocks[slot], 1), "after hopping");
      memset(blocks[slot], 0xA5, sizes[slot] < 64 ? sizes[slot] : 64);
      free(blocks[slot]);
    }
    sizes[slot] = below(&random, 100) ? hot[below(&random, below(&random, 4) ? 5 : 8)] : randomSize(&random, 500000);
    blocks[slot] = malloc(sizes[slot]);
    CHECK(blocks[slot], "%zu bytes: %s", sizes[slot], strerror(errno));
    paint(blocks[slot], sizes[slot], tagOf(blocks[slot], 1));
    if (step % 32 == 0) hop(0, &random);
  }
  for (unsigned i = 0; i < slots; i++) {
    if (blocks[i]) verify(blocks[i], sizes[i], tagOf(blocks[i], 1), "at the end");
    free(blocks[i]);
  }
  atomic_store(&threadIDs[number], 0);
  atomic_fetch_sub(&running, 1);
  return NULL;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  cpu_set_t allowed;
  CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0, "sched_getaffinity: %s", strerror(errno));
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &allowed)) cpus[cpuCount++] = cpu;
  if (cpuCount < 2) skip("hopping needs two CPUs");
  pthread_t threads[workers];
  atomic_store(&running, workers);
  for (unsigned i = 0; i < workers; i++) threads[i] = startThread(work, (void *)(uintptr_t)i);
  Random random = randomFrom(99);
  while (atomic_load(&running) > 0) {
    pid_t thread = atomic_load(&threadIDs[below(&random, workers)]);
    if (thread) hop(thread, &random);
    usleep((useconds_t)below(&random, 60));
  }
  for (unsigned i = 0; i < workers; i++) joinThread(threads[i]);
  size_t resident = residentBytes();
  CHECK(resident < (size_t)256 << 20, "nothing is live, and %zu bytes are resident", resident);
  return 0;
}
