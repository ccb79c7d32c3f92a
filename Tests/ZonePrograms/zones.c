// SPDX-License-Identifier: BSD-2-Clause
//
// Zones as stave_zone.h has them: when hooks run, with what; secondary zones, several kegs, cache-only zones; limits and who waits; what is
// set in the cold; counts of references; copies for each CPU; figures; what is no zone.

#include <errno.h>
#include <pthread.h>
#include <stave.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

// Hooks write down that they ran.
static char calls[64];
static int refusing;
static void note(char what) {
  size_t length = strlen(calls);
  if (length < sizeof calls - 1) calls[length] = what, calls[length + 1] = 0;
}
static int constructor(void *item, size_t size, void *arg, int flags) {
  CHECK(item != NULL && size == 100 && (flags & (STAVE_NOWAIT | STAVE_WAITOK)) != 0);
  note('c');
  if (arg != NULL) *(void **)arg = item;
  return refusing;
}
static void destructor(void *item, size_t size, void *arg) {
  CHECK(item != NULL && size == 100);
  note('d');
  if (arg != NULL) *(void **)arg = NULL;
}
static int begin(void *item, size_t size, int flags) {
  CHECK(size == 100 && flags != 0);
  memset(item, 7, size);
  note('i');
  return 0;
}
static void end(void *item, size_t size) { (void)item, (void)size, note('f'); }
static int beginSecond(void *item, size_t size, int flags) { (void)size, (void)flags, note('I'); return *(char *)item != 7; }
static void endSecond(void *item, size_t size) { (void)item, (void)size, note('F'); }

static void hooks(void) {
  struct stave_zone *zone = stave_zone_create("hooked", 100, constructor, destructor, begin, end, STAVE_ALIGN_PTR, STAVE_ZONE_NOBUCKET);
  CHECK(zone != NULL && stave_zone_size(zone) == 100);
  void *seen = NULL;
  char *item = stave_zone_alloc_arg(zone, &seen, STAVE_NOWAIT);
  CHECK(item != NULL && seen == item && item[99] == 7);
  size_t made = strspn(calls, "i");
  CHECK(made >= 1 && strcmp(calls + made, "c") == 0);
  item[0] = 8;
  stave_zone_free_arg(zone, item, &seen);
  CHECK(seen == NULL && strcmp(calls + made, "cd") == 0);
  // What the caller left is there: an item keeps its state.
  char *again = stave_zone_alloc(zone, STAVE_WAITOK);
  CHECK(again == item && item[0] == 8 && item[99] == 7);
  refusing = 1;
  CHECK(stave_zone_alloc(zone, STAVE_WAITOK) == NULL);
  refusing = 0;
  stave_zone_free(zone, again);
  stave_zone_free(zone, NULL);
  struct stave_zone_stat stat;
  stave_zone_get_stat(zone, &stat);
  CHECK(stat.requests == 2 && stat.frees == 2 && stat.used == 0 && stat.fails == 1);
  calls[0] = 0;
  CHECK(stave_zone_destroy(zone) == 0);
  CHECK(strchr(calls, 'f') != NULL && stave_zone_destroy(NULL) == 0);
}

static void lateHooks(void) {
  struct stave_zone *zone = stave_zone_create("late", 100, NULL, NULL, begin, end, STAVE_ALIGN_PTR, STAVE_ZONE_NOBUCKET);
  stave_zone_set_hooks(zone, beginSecond, endSecond);
  calls[0] = 0;
  stave_zone_free(zone, stave_zone_alloc(zone, STAVE_WAITOK));
  size_t made = strspn(calls, "i");
  CHECK(made >= 1 && strcmp(calls + made, "IF") == 0);
  CHECK(stave_zone_destroy(zone) == 0);
}

static void secondary(void) {
  struct stave_zone *primary = stave_zone_create("primary", 100, NULL, NULL, begin, end, STAVE_ALIGN_PTR, STAVE_ZONE_OFFPAGE);
  struct stave_zone *other = stave_zone_create("other", 100, NULL, NULL, begin, end, STAVE_ALIGN_PTR, STAVE_ZONE_OFFPAGE);
  struct stave_zone *odd = stave_zone_create("odd", 101, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_OFFPAGE);
  calls[0] = 0;
  struct stave_zone *second = stave_zone_create_secondary("secondary", NULL, NULL, beginSecond, endSecond, STAVE_ZONE_NOBUCKET, primary);
  CHECK(primary != NULL && other != NULL && odd != NULL && second != NULL);
  CHECK(stave_zone_add_keg(second, odd) == -1 && errno == E2BIG);
  CHECK(stave_zone_add_keg(second, other) == 0);
  void *item = stave_zone_alloc(second, STAVE_NOWAIT);
  CHECK(item != NULL && strspn(calls, "i") + 1 == strlen(calls) && strchr(calls, 'I') != NULL);
  calls[0] = 0;
  stave_zone_free(second, item);
  CHECK(strcmp(calls, "F") == 0);
  // It may be anybody's now.
  void *first = stave_zone_alloc(primary, STAVE_NOWAIT | STAVE_ZERO);
  CHECK(first != NULL && *(char *)first == 0);
  stave_zone_free(primary, first);
  CHECK(stave_zone_destroy(second) == 0 && stave_zone_destroy(primary) == 0 && stave_zone_destroy(other) == 0 && stave_zone_destroy(odd) == 0);
}

// What is lent lies on a stack.
struct store { char slots[64][32]; void *stack[64]; size_t count; };
static size_t bring(void *arg, void **items, size_t count, int flags) {
  struct store *store = arg;
  CHECK(flags != 0);
  size_t done = 0;
  while (done < count && store->count > 0) items[done++] = store->stack[--store->count];
  return done;
}
static void take(void *arg, void **items, size_t count) {
  struct store *store = arg;
  for (size_t index = 0; index < count; index++) {
    CHECK((char *)items[index] >= store->slots[0] && (char *)items[index] <= store->slots[63] && store->count < 64);
    store->stack[store->count++] = items[index];
  }
}
static void cacheOnly(void) {
  static struct store store;
  while (store.count < 64) store.stack[store.count] = store.slots[store.count], store.count++;
  struct stave_zone *zone = stave_zone_create_cache("borrowed", 32, NULL, NULL, NULL, NULL, bring, take, &store, 0);
  CHECK(zone != NULL);
  void *items[64];
  for (int index = 0; index < 64; index++) CHECK((items[index] = stave_zone_alloc(zone, STAVE_NOWAIT)) != NULL);
  CHECK(stave_zone_alloc(zone, STAVE_NOWAIT) == NULL);
  for (int index = 0; index < 64; index++) stave_zone_free(zone, items[index]);
  CHECK(stave_zone_alloc(zone, STAVE_NOWAIT) != NULL);
  CHECK(stave_zone_destroy(zone) == 1 && store.count == 63);
}

// A limit of eight items, and more threads than that which want one at a time, twice each.
static struct stave_zone *bounded;
static int waiting, most, out;
static void *want(void *unused) {
  (void)unused;
  for (int round = 0; round < 200; round++) {
    void *item = stave_zone_alloc(bounded, STAVE_WAITOK);
    CHECK(item != NULL);
    int now = __atomic_add_fetch(&out, 1, __ATOMIC_SEQ_CST);
    CHECK(now <= 8);
    if (now > __atomic_load_n(&most, __ATOMIC_SEQ_CST)) __atomic_store_n(&most, now, __ATOMIC_SEQ_CST);
    if (round % 50 == 0) usleep(300);
    __atomic_sub_fetch(&out, 1, __ATOMIC_SEQ_CST);
    stave_zone_free(bounded, item);
  }
  return NULL;
}
static void spare(struct stave_zone *zone) { CHECK(zone == bounded), __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST); }
static void limits(void) {
  bounded = stave_zone_create("bounded", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_CACHE, 0);
  CHECK(stave_zone_get_max(bounded) == 0 && stave_zone_set_max(bounded, 8) == 8 && stave_zone_get_max(bounded) == 8);
  stave_zone_set_warning(bounded, "eight is all there are");
  stave_zone_set_maxaction(bounded, spare);
  void *items[8];
  for (int index = 0; index < 8; index++) {
    CHECK((items[index] = stave_zone_alloc(bounded, STAVE_NOWAIT)) != NULL && ((uintptr_t)items[index] & STAVE_ALIGN_CACHE) == 0);
  }
  CHECK(stave_zone_get_cur(bounded) == 8 && stave_zone_exhausted(bounded) && stave_zone_alloc(bounded, STAVE_NOWAIT) == NULL);
  while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < 1) usleep(1000);
  pthread_t threads[20];
  for (int index = 0; index < 20; index++) CHECK(pthread_create(&threads[index], NULL, want, NULL) == 0);
  usleep(20000);
  CHECK(out == 0);
  for (int index = 0; index < 8; index++) stave_zone_free(bounded, items[index]);
  for (int index = 0; index < 20; index++) pthread_join(threads[index], NULL);
  CHECK(most >= 1);
  stave_zone_wait(bounded);
  stave_zone_set_max(bounded, 0);
  CHECK(!stave_zone_exhausted(bounded) && stave_zone_destroy(bounded) == 0);
}

static size_t pagesOut;
static void *pages(void *arg, size_t bytes, int flags, uint8_t *mark) {
  (void)flags;
  *mark = 77;
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *(size_t *)arg += bytes;
  return memory == MAP_FAILED ? NULL : memory;
}
static void unpages(void *arg, void *start, size_t bytes, uint8_t mark) {
  CHECK(mark == 77);
  *(size_t *)arg -= bytes, munmap(start, bytes);
}
static void cold(void) {
  struct stave_zone *zone = stave_zone_create("reserved", 1000, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  CHECK(stave_zone_set_source(zone, pages, unpages, &pagesOut, 1) == -1 && errno == EINVAL);
  CHECK(stave_zone_reserve_addresses(zone, 100) == 0 && stave_zone_get_max(zone) >= 100);
  CHECK(stave_zone_prealloc(zone, 50, STAVE_WAITOK) == 0 && stave_zone_memory(zone) >= 50000 && stave_zone_memory(NULL) >= stave_zone_memory(zone));
  CHECK(stave_zone_destroy(zone) == 0);
  zone = stave_zone_create("elsewhere", 500, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_NOTPAGE);
  CHECK(zone != NULL && stave_zone_set_source(zone, pages, unpages, &pagesOut, 1) == 0);
  void *item = stave_zone_alloc(zone, STAVE_WAITOK);
  CHECK(item != NULL && pagesOut > 0 && pagesOut % 4096 == 0);
  stave_zone_free(zone, item);
  CHECK(stave_zone_reclaim(zone, STAVE_RECLAIM_DRAIN_CPU) == 0 && stave_zone_reclaim(zone, 9) == -1 && stave_zone_destroy(zone) == 0 && pagesOut == 0);
  zone = stave_zone_create("urgent", 2000, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_NOBUCKET);
  stave_zone_reserve(zone, 4);
  CHECK(stave_zone_prealloc(zone, 4, STAVE_WAITOK) == 0);
  void *all[4096];
  int count = 0;
  while (count < 4096 && (all[count] = stave_zone_alloc(zone, STAVE_NOWAIT | STAVE_NOVM)) != NULL) count++;
  int rest = 0;
  while (count < 4096 && (all[count] = stave_zone_alloc(zone, STAVE_NOWAIT | STAVE_NOVM | STAVE_USE_RESERVE)) != NULL) count++, rest++;
  CHECK(rest == 4);
  while (count > 0) stave_zone_free(zone, all[--count]);
  CHECK(stave_zone_destroy(zone) == 0 && stave_zone_reclaim(NULL, STAVE_RECLAIM_TRIM) == 0);
}

static void counts(void) {
  struct stave_zone *zone = stave_zone_create("counted", 40, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_REFCNT);
  void *item = stave_zone_alloc(zone, STAVE_WAITOK), *next = stave_zone_alloc(zone, STAVE_WAITOK);
  uint32_t *count = stave_zone_find_refcnt(zone, item);
  CHECK(*count == 0 && count != stave_zone_find_refcnt(zone, next));
  __atomic_add_fetch(count, 3, __ATOMIC_SEQ_CST);
  stave_zone_free(zone, item);
  CHECK(*stave_zone_find_refcnt(zone, item) == 3);
  stave_zone_free(zone, next);
  CHECK(stave_zone_destroy(zone) == 0);
}

static void copies(void) {
  struct stave_zone *zone = stave_zone_pcpu_zone(8);
  size_t cpus = stave_zone_pcpu_copies();
  CHECK(zone != NULL && zone == stave_zone_pcpu_zone(8) && stave_zone_pcpu_zone(9) == NULL && cpus >= 1);
  uint64_t *counter = stave_zone_alloc_pcpu(zone, NULL, STAVE_WAITOK | STAVE_ZERO);
  uint64_t sum = 0;
  for (size_t cpu = 0; cpu < cpus; cpu++) *(uint64_t *)stave_zone_pcpu_copy(counter, cpu) += cpu + 1;
  for (size_t cpu = 0; cpu < cpus; cpu++) sum += *(uint64_t *)stave_zone_pcpu_copy(counter, cpu);
  CHECK(stave_zone_pcpu_copy(counter, 0) == (void *)counter && sum == cpus * (cpus + 1) / 2);
  stave_zone_free_pcpu(zone, counter, NULL);
  stave_zone_free_pcpu(zone, NULL, NULL);
}

static size_t resident(void) {
  size_t all = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL && fscanf(file, "%zu %zu", &all, &pages) == 2);
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

// To the system, not only to other zones.
static void givenBack(void) {
  static void *items[100000];
  for (int one = 0; one < 2; one++) {
    struct stave_zone *zone = stave_zone_create("given back", 256, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
    for (int index = 0; index < 100000; index++) CHECK((items[index] = stave_zone_alloc(zone, STAVE_WAITOK)) != NULL), memset(items[index], 1, 256);
    size_t full = resident();
    for (int index = 0; index < 100000; index++) stave_zone_free(zone, items[index]);
    CHECK(stave_zone_reclaim(one ? zone : NULL, STAVE_RECLAIM_DRAIN_CPU) == 0 && resident() + (16 << 20) < full);
    CHECK(stave_zone_destroy(zone) == 0);
  }
}

static void noZones(void) {
  CHECK(stave_zone_create("none", 0, NULL, NULL, NULL, NULL, 7, 0) == NULL && errno == EINVAL);
  CHECK(stave_zone_create("none", 8, NULL, NULL, NULL, NULL, 6, 0) == NULL && errno == EINVAL);
  CHECK(stave_zone_create("none", 8, NULL, NULL, NULL, NULL, 7, 1 << 2) == NULL && errno == EINVAL);
  CHECK(stave_zone_create("none", 8, NULL, NULL, NULL, NULL, 7, 1u << 20) == NULL && errno == EINVAL);
  CHECK(stave_zone_create("none", 8, NULL, NULL, NULL, NULL, 7, STAVE_ZONE_NOTOUCH | STAVE_ZONE_ZINIT) == NULL && errno == EINVAL);
  errno = 0;
  CHECK(stave_zone_create("none", (size_t)1 << 60, NULL, NULL, NULL, NULL, 7, 0) == NULL && errno != 0);
}

int main(void) {
  CHECK(stave_zone_version() == (STAVE_VERSION_MAJOR << 16 | STAVE_VERSION_MINOR << 8 | STAVE_VERSION_PATCH));
  hooks();
  lateHooks();
  secondary();
  cacheOnly();
  limits();
  cold();
  counts();
  copies();
  givenBack();
  noZones();
  puts("fine");
  return 0;
}
