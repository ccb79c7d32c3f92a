// SPDX-License-Identifier: BSD-2-Clause
//
// Who holds the memory of a process on Stave, and who has taken more since the last look: a reader of its own, by stavestat(3).
//
//     cc main.c -I../../build/include -L../../build -lstavestat -o holders
//     LD_LIBRARY_PATH=../../build ./holders 1234 1        # a process, every second; ./holders FILE: a core file or a saved stream

#include <inttypes.h>
#include <stavestat.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BEFORE = 0 };  // the slot that has an entry's bytes at the last look

// From a process by number, or else a stream, or else a core file.
static int fill(stavestat_list *list, const char *place) {
  char *end;
  long process = strtol(place, &end, 10);
  if (*place != 0 && *end == 0) return stavestat_fill_process(list, (int)process, STAVESTAT_MALLOC);
  if (stavestat_fill_stream(list, place) == 0) return 0;
  // Too new a stream is none that a core reader could know.
  return stavestat_error(list) == STAVESTAT_ERROR_VERSION ? -1 : stavestat_fill_core(list, place, STAVESTAT_MALLOC);
}

static void show(stavestat_entry *type) {
  uint64_t bytes = stavestat_value(type, STAVESTAT_BYTES), before = stavestat_number(type, BEFORE);
  printf("%-31s %10" PRIu64 " blocks %12" PRIu64 " bytes %+12" PRId64, stavestat_label(type), stavestat_value(type, STAVESTAT_COUNT), bytes,
         (int64_t)(bytes - before));
  stavestat_set_number(type, BEFORE, bytes);
  // The last record is of no CPU: what no CPU's cache has counted.
  unsigned cpus = stavestat_cpus(type);
  for (unsigned cpu = 0; cpu < cpus; cpu++) {
    uint64_t requests = stavestat_cpu_value(type, cpu, STAVESTAT_ALLOCATIONS);
    if (requests == 0) continue;
    if (cpu + 1 < cpus) printf("  cpu%u %" PRIu64, cpu, requests);
    else printf("  elsewhere %" PRIu64, requests);
  }
  putchar('\n');
}

int main(int count, char *arguments[]) {
  if (count < 2) {
    fprintf(stderr, "usage: holders PID [seconds], or holders FILE\n");
    return 2;
  }
  stavestat_list *list = stavestat_list_new();
  for (int looks = 0;; looks++) {
    if (fill(list, arguments[1]) != 0) {
      // A process that ends while it is watched is no error.
      int isOver = looks > 0 && stavestat_error(list) == STAVESTAT_ERROR_PROCESS;
      if (!isOver) fprintf(stderr, "holders: %s (%s)\n", stavestat_message(list), stavestat_strerror(stavestat_error(list)));
      stavestat_list_free(list);
      return isOver ? 0 : 1;
    }
    for (stavestat_entry *entry = stavestat_first(list); entry != NULL; entry = stavestat_next(entry)) {
      if (stavestat_allocator(entry) == STAVESTAT_MALLOC && stavestat_value(entry, STAVESTAT_ALLOCATIONS) > 0) show(entry);
    }
    if (count < 3 || atoi(arguments[2]) < 1) break;
    fflush(stdout);
    sleep((unsigned)atoi(arguments[2]));
  }
  stavestat_list_free(list);
  return 0;
}
