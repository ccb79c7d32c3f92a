// SPDX-License-Identifier: BSD-2-Clause
//
// Many guarded blocks, all live: what one costs while they become more. To be run with memguard:1,memguard_divisor:1; prints a line
// for each tenth: blocks, CPU nanoseconds of a malloc that is touched and of a free with another malloc, each the best of twenty
// batches, bytes of page tables for a block, lines of the process's map. Fails if a block is not guarded.

#include <time.h>

#include "scenario.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static long pageTables(void) {
  char line[256];
  long kilobytes = 0;
  FILE *file = fopen("/proc/self/status", "r");
  CHECK(file, "status");
  while (fgets(line, sizeof line, file)) sscanf(line, "VmPTE: %ld", &kilobytes);
  fclose(file);
  return kilobytes << 10;
}

static long mapLines(void) {
  char line[512];
  long count = 0;
  FILE *file = fopen("/proc/self/maps", "r");
  CHECK(file, "maps");
  while (fgets(line, sizeof line, file)) count++;
  fclose(file);
  return count;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  unsigned long most = scaled(100000);
  char **blocks = malloc(most * sizeof *blocks);
  CHECK(blocks, "a table");
  Random random = randomFrom(1);
  long tables = pageTables();
  printf("%9s %8s %8s %7s %6s\n", "blocks", "malloc", "pair", "tables", "lines");
  for (unsigned long tenth = 1; tenth <= 10; tenth++) {
    unsigned long from = most / 10 * (tenth - 1), to = most / 10 * tenth, pairs = most / 100;
    double malloced = 1e18, paired = 1e18;
    for (unsigned long batch = 0; batch < 20; batch++) {
      unsigned long first = from + (to - from) * batch / 20, last = from + (to - from) * (batch + 1) / 20;
      double start = now();
      for (unsigned long i = first; i < last; i++) {
        blocks[i] = malloc(20);
        CHECK(blocks[i], "block %lu", i);
        blocks[i][0] = 1;
      }
      double took = (now() - start) / (double)(last - first);
      if (took < malloced) malloced = took;
    }
    for (unsigned long batch = 0; batch < 20; batch++) {
      double start = now();
      for (unsigned long i = 0; i < pairs / 20; i++) {
        unsigned long at = below(&random, (unsigned)to);
        free(blocks[at]);
        blocks[at] = malloc(20);
        CHECK(blocks[at], "again");
        blocks[at][0] = 1;
      }
      double took = (now() - start) / (double)(pairs / 20);
      if (took < paired) paired = took;
    }
    for (unsigned long i = 0; i < to && expectStave; i++) CHECK(malloc_usable_size(blocks[i]) == 20, "block %lu of %lu is not guarded", i, to);
    printf("%9lu %8.0f %8.0f %7.0f %6ld\n", to, malloced, paired, (double)(pageTables() - tables) / (double)(to + pairs * tenth), mapLines());
  }
  double start = now();
  for (unsigned long i = 0; i < most / 10 * 10; i++) free(blocks[i]);
  printf("%9d %8.0f (free)\n", 0, (now() - start) / (double)most);
  free(blocks);
  return 0;
}
