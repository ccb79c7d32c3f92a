// SPDX-License-Identifier: BSD-2-Clause
//
// What both programs share: skipping aloud, the CPUs they may use, the items, and the swap of a CPU's table entry with
// which the caches are emptied from elsewhere. Items are numbers that look like addresses in one or more 64 KiB units; the
// sections never touch what an item points to.

#ifndef CELLS_H
#define CELLS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef __clang__
#define _Nullable
#define _Nonnull
#endif

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "CPlatform.h"
#include "broken.h"

#define SHARED __attribute__((unused)) static

enum {
  itemBytes = 48,  // no power of two, so that the membership test of a push has something to do
  itemsPerUnit = 65536 / itemBytes,
  skipped = 77,
};
#define RECIPROCAL ((uint32_t)((1ull << 32) / itemBytes + 1))
#define FIRST_UNIT ((uintptr_t)0x700000000000)

__attribute__((noreturn, format(printf, 1, 2))) SHARED void skip(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("SKIPPED: ");
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
  exit(skipped);
}

/// Items fill a unit from its end.
SHARED uintptr_t itemNumber(unsigned index) {
  return FIRST_UNIT + (uintptr_t)(index / itemsPerUnit + 1) * 65536 - (uintptr_t)(index % itemsPerUnit + 1) * itemBytes;
}

/// The inverse; -1 for what is no item.
SHARED long itemIndex(uintptr_t item, unsigned count) {
  if (item < FIRST_UNIT) return -1;
  uintptr_t unit = (item - FIRST_UNIT) >> 16, distance = 65536 - (item & 0xffff);
  if (distance % itemBytes || distance / itemBytes > itemsPerUnit) return -1;
  uintptr_t index = unit * itemsPerUnit + distance / itemBytes - 1;
  return index < count ? (long)index : -1;
}

/// The CPUs this process may use, at most `limit`; how many.
SHARED int usableCPUs(int *cpus, int limit) {
  cpu_set_t allowed;
  int count = 0;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) skip("sched_getaffinity: %s", strerror(errno));
  for (int cpu = 0; cpu < CPU_SETSIZE && count < limit; cpu++)
    if (CPU_ISSET(cpu, &allowed)) cpus[count++] = cpu;
  return count;
}

/// 0, or the error: ESRCH if the thread has just ended.
SHARED int moveThread(pid_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(thread, sizeof set, &set) == 0 ? 0 : errno;
}

enum { restartAll = 1 << 7, registerRestart = 1 << 8, oneCPU = 1 };  // MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ and its kin

/// What the zones check before they use the sections. Every CPU's entry becomes the empty cells.
SHARED void startSections(void) {
  if (!stave_has_rseq()) skip("this architecture has no sections of its own");
  if (!stave_libc_has_rseq()) skip("libc has not registered restartable sequences");
  stave_hot_storage.rseq_offset = stave_libc_rseq_offset();
  if (stave_rseq_cpu() < 0) skip("this thread has no CPU number from the kernel (rseq)");
  long error = stave_membarrier(registerRestart, 0, 0);
  if (error) skip("membarrier cannot restart sections: %s", strerror((int)-error));
  for (int entry = 0; entry < STAVE_CPU_GUARDS + STAVE_MAX_CPUS; entry++) stave_hot_storage.cpu[entry] = stave_no_cells();
}

/// As CPUCache.withExclusiveCells: from here until `thaw` nobody on that CPU reaches its cells.
SHARED void freeze(int cpu) {
  __atomic_store_n(&stave_cpu_table()[cpu], stave_no_cells(), __ATOMIC_RELAXED);
  if (SABOTAGE == 5) return;
  if (stave_membarrier(restartAll, oneCPU, cpu) != 0 && stave_membarrier(restartAll, 0, 0) != 0) {
    printf("FAILED: membarrier refused after registration\n");
    exit(1);
  }
}

SHARED void thaw(int cpu, struct stave_cell *cells) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  __atomic_store_n(&stave_cpu_table()[cpu], cells, __ATOMIC_RELAXED);
}

#endif
