// SPDX-License-Identifier: BSD-2-Clause
//
// malloc_trim, mallinfo, mallinfo2, malloc_info, mallopt and malloc_stats can be called at rest and while other threads
// allocate, and what they say is plausible: figures rise and fall with what is live, XML is whole, memory goes back.

#include <stdatomic.h>

#include "scenario.h"

enum { many = 60000, workers = 3 };
static void *blocks[many];
static atomic_int stop;

#if __GLIBC_PREREQ(2, 33)
static size_t liveBytes(void) { return mallinfo2().uordblks + mallinfo2().hblkhd; }
static const char *figure = "mallinfo2";
#else
static size_t liveBytes(void) { return (unsigned)mallinfo().uordblks + (unsigned)mallinfo().hblkhd; }
static const char *figure = "mallinfo";
#endif

static void fill(size_t size) {
  for (unsigned i = 0; i < many; i++) {
    blocks[i] = malloc(size);
    CHECK(blocks[i], "%zu bytes: %s", size, strerror(errno));
    memset(blocks[i], 1, size);
  }
}

static void empty(void) {
  for (unsigned i = 0; i < many; i++) free(blocks[i]);
}

static void figures(void) {
  const size_t size = 1000, total = size * many;
  size_t before = liveBytes(), resident = residentBytes();
  fill(size);
  size_t full = liveBytes(), residentFull = residentBytes();
  char *large = malloc((size_t)20 << 20);
  CHECK(large, "20 MiB: %s", strerror(errno));
  memset(large, 1, (size_t)20 << 20);
  size_t fuller = liveBytes();
  free(large);
  empty();
  size_t after = liveBytes();
  int trimmed = malloc_trim(0);
  CHECK(trimmed == 0 || trimmed == 1, "malloc_trim returned %d", trimmed);
  if (!provided(figure)) {
    printf("%s belongs to another allocator; its figures are not checked\n", figure);
    return;
  }
  CHECK(full >= before + total && full <= before + total * 2, "%zu bytes more were live, %s went from %zu to %zu", total, figure, before, full);
  CHECK(fuller >= full + ((size_t)20 << 20), "20 MiB more were live, %s went from %zu to %zu", figure, full, fuller);
  CHECK(after <= before + total / 10, "all was freed, %s went from %zu to %zu", figure, full, after);
  CHECK(residentFull > resident + total * 9 / 10, "resident memory went from %zu to only %zu", resident, residentFull);
  if (provided("malloc_trim"))
    CHECK(residentBytes() < resident + total / 4, "after malloc_trim %zu of %zu bytes are resident", residentBytes(), residentFull);
}

static void report(void) {
  char *text = NULL;
  size_t length = 0;
  FILE *stream = open_memstream(&text, &length);
  CHECK(stream, "open_memstream: %s", strerror(errno));
  int result = malloc_info(0, stream);
  fclose(stream);
  CHECK(result == 0, "malloc_info returned %d", result);
  CHECK(length > 20 && strncmp(text, "<malloc", 7) == 0 && strstr(text, "</malloc>"), "malloc_info wrote '%.300s'", text);
  free(text);
  stream = open_memstream(&text, &length);
  CHECK(stream, "open_memstream: %s", strerror(errno));
  CHECK(malloc_info(7, stream) != 0, "malloc_info took an option that does not exist");
  fclose(stream);
  free(text);
}

static void options(void) {
  const int parameters[][2] = {{M_MXFAST, 64},         {M_TRIM_THRESHOLD, 1 << 20}, {M_TOP_PAD, 4096}, {M_MMAP_THRESHOLD, 1 << 20},
                               {M_MMAP_MAX, 65536},    {M_CHECK_ACTION, 3},         {M_PERTURB, 0},    {M_ARENA_TEST, 2},
                               {M_ARENA_MAX, 4},       {31999, 1}};
  for (unsigned i = 0; i < sizeof parameters / sizeof *parameters; i++) {
    int result = mallopt(parameters[i][0], parameters[i][1]);
    CHECK(result == 0 || result == 1, "mallopt(%d, %d) returned %d", parameters[i][0], parameters[i][1], result);
  }
  for (unsigned i = 0; probeSize(i) < 1u << 20; i++) free(hide(malloc(probeSize(i))));
}

/// malloc_stats writes to standard error: into a file for once, to see that something came.
static void statistics(void) {
  FILE *file = tmpfile();
  CHECK(file, "tmpfile: %s", strerror(errno));
  fflush(stderr);
  int saved = dup(2);
  CHECK(saved >= 0 && dup2(fileno(file), 2) == 2, "dup2: %s", strerror(errno));
  malloc_stats();
  fflush(stderr);
  dup2(saved, 2);
  close(saved);
  CHECK(!provided("malloc_stats") || lseek(fileno(file), 0, SEEK_END) > 0, "malloc_stats wrote nothing");
  fclose(file);
}

static void *work(void *argument) {
  Random random = randomFrom((uintptr_t)argument);
  void *mine[200] = {0};
  while (!atomic_load(&stop)) {
    unsigned slot = (unsigned)below(&random, 200);
    free(mine[slot]);
    size_t size = randomSize(&random, 200000);
    mine[slot] = malloc(size);
    CHECK(mine[slot], "%zu bytes: %s", size, strerror(errno));
    if (size) memset(mine[slot], 1, size < 64 ? size : 64);
  }
  for (unsigned i = 0; i < 200; i++) free(mine[i]);
  return NULL;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  figures();
  report();
  statistics();
  pthread_t threads[workers];
  for (unsigned i = 0; i < workers; i++) threads[i] = startThread(work, (void *)(uintptr_t)(i + 1));
  for (unsigned long i = 0; i < scaled(2000); i++) {
    malloc_trim(i % 3 ? 0 : 1 << 20);
    (void)liveBytes();
    report();
    if (i % 100 == 0) statistics();
  }
  atomic_store(&stop, 1);
  for (unsigned i = 0; i < workers; i++) joinThread(threads[i]);
  options();
  return 0;
}
