// SPDX-License-Identifier: BSD-2-Clause
//
// Pools as stave_pool.h has them: water marks, the hard limit with a waiting thread, the drain hook, siblings on one source of pages that
// give each other theirs, caches of objects, and what is refused.

#include <errno.h>
#include <pthread.h>
#include <stave.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static struct stave_pool *pool;
static void *held[200];
static size_t heldCount;
static void drain(void *arg, int flags) {
  CHECK(arg == held && flags != 0);
  while (heldCount > 0) stave_pool_put(pool, held[--heldCount]);
}
static void *waitForOne(void *unused) {
  (void)unused;
  return stave_pool_get(pool, STAVE_WAITOK);
}

// What no pool can be, and what no request can have.
static void *none(void *arg, size_t bytes, int flags, uint8_t *mark) { return (void)arg, (void)bytes, (void)mark, (void)flags, NULL; }
static void noneBack(void *arg, void *start, size_t bytes, uint8_t mark) { (void)arg, (void)start, (void)bytes, (void)mark; }
static void refusals(void) {
  struct stave_pool_allocator *source = stave_pool_allocator_create(none, noneBack, NULL, 4096, 0);
  CHECK(source != NULL);
  size_t aligns[] = { 8191, SIZE_MAX, SIZE_MAX >> 1, 6 };
  for (int index = 0; index < 4; index++) {
    errno = 0;
    CHECK(stave_pool_create("wide", 64, aligns[index], 0, 0, source) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(index == 0 || (stave_pool_create("wide", 64, aligns[index], 0, 0, NULL) == NULL && errno == EINVAL));
  }
  size_t sizes[] = { 0, (size_t)1 << 41, SIZE_MAX };
  for (int index = 0; index < 3; index++) {
    errno = 0;
    CHECK(stave_pool_create("large", sizes[index], 7, 0, 0, NULL) == NULL && errno == EINVAL);
  }
  errno = 0;
  CHECK(stave_pool_create("offset", 64, 7, 64, 0, NULL) == NULL && errno == EINVAL);
  errno = 0;
  CHECK(stave_pool_create("flags", 64, 7, 0, 1u << 31, NULL) == NULL && errno == EINVAL);
  size_t pages[] = { 0, 100, 256, 516, SIZE_MAX };
  for (int index = 0; index < 5; index++) {
    errno = 0;
    CHECK(stave_pool_allocator_create(none, noneBack, NULL, pages[index], 16) == NULL && errno == EINVAL);
  }
  errno = 0;
  CHECK(stave_pool_allocator_create(NULL, noneBack, NULL, 4096, 0) == NULL && errno == EINVAL);
  errno = 0;
  CHECK(stave_pool_allocator_create(none, NULL, NULL, 4096, 0) == NULL && errno == EINVAL);
  pool = stave_pool_create("empty", 64, 7, 0, 0, source);
  stave_pool_allocator_release(source);
  CHECK(pool != NULL);
  size_t counts[] = { 1, SIZE_MAX, SIZE_MAX >> 1 };
  for (int index = 0; index < 3; index++) {
    errno = 0;
    CHECK(stave_pool_prime(pool, counts[index], STAVE_NOWAIT) == -1 && errno == ENOMEM);
  }
  CHECK(stave_pool_prime(pool, 0, STAVE_NOWAIT) == 0 && stave_pool_get(pool, STAVE_NOWAIT) == NULL);
  CHECK(stave_pool_destroy(pool) == 0);
}

static void limits(void) {
  pool = stave_pool_create("connections", 100, STAVE_ALIGN_PTR, 4, 0, NULL);
  CHECK(pool != NULL);
  stave_pool_sethardlimit(pool, 3, "three at a time", 60);
  void *items[3];
  for (int index = 0; index < 3; index++) {
    items[index] = stave_pool_get(pool, STAVE_NOWAIT);
    CHECK(items[index] != NULL && ((uintptr_t)items[index] + 4) % sizeof(void *) == 0);
  }
  CHECK(stave_pool_get(pool, STAVE_NOWAIT) == NULL && stave_pool_get(pool, STAVE_WAITOK | STAVE_LIMITFAIL) == NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, waitForOne, NULL) == 0);
  usleep(20000);
  stave_pool_put(pool, items[0]);
  void *got = NULL;
  pthread_join(thread, &got);
  CHECK(got != NULL);
  struct stave_pool_stat stat;
  stave_pool_get_stat(pool, &stat);
  CHECK(stat.gets == 4 && stat.puts == 1 && stat.out == 3 && stat.fails >= 2 && stat.pages >= 1);
  stave_pool_put(pool, got), stave_pool_put(pool, items[1]), stave_pool_put(pool, items[2]), stave_pool_put(pool, NULL);
  stave_pool_sethardlimit(pool, STAVE_POOL_NOLIMIT, NULL, 0);
  stave_pool_setlowat(pool, 10);
  CHECK(stave_pool_prime(pool, 5, STAVE_WAITOK) == 0);
  stave_pool_get_stat(pool, &stat);
  CHECK(stat.out == 0 && stat.free >= 10);
  stave_pool_sethiwat(pool, STAVE_POOL_NOLIMIT);
  // Empty pages are young, so a round of all pools gives none back.
  for (int pools = 0; pools < 5; pools++) CHECK(stave_pool_drain() == 0);
  // Items of another back-end's size of page, which only the hook can spare.
  while (heldCount < 200) CHECK((held[heldCount++] = stave_pool_get(pool, STAVE_WAITOK)) != NULL);
  stave_pool_set_drain_hook(pool, drain, held);
  stave_pool_reclaim(pool, 1);
  CHECK(heldCount == 0);
  CHECK(stave_pool_destroy(pool) == 0 && stave_pool_destroy(NULL) == 0);
}

// Four pages, all there are.
static char memory[4][4096] __attribute__((aligned(4096)));
static int taken[4], unused;
static void *page(void *arg, size_t bytes, int flags, uint8_t *mark) {
  *mark = 200;
  CHECK(arg == memory && bytes == 4096 && flags != 0);
  for (int index = 0; index < 4; index++) if (!taken[index]) return taken[index] = 1, memory[index];
  return NULL;
}
static void unpage(void *arg, void *start, size_t bytes, uint8_t mark) {
  CHECK(mark == 200);
  CHECK(arg == memory && bytes == 4096);
  taken[((char *)start - memory[0]) / 4096] = 0, unused++;
}
static void siblings(void) {
  struct stave_pool_allocator *source = stave_pool_allocator_create(page, unpage, memory, 4096, 0);
  CHECK(source != NULL && stave_pool_allocator_create(page, unpage, memory, 4000, 0) == NULL && errno == EINVAL);
  struct stave_pool *one = stave_pool_create("one", 1000, 7, 0, 0, source), *two = stave_pool_create("two", 500, 7, 0, 0, source);
  CHECK(one != NULL && two != NULL);
  stave_pool_allocator_release(source);
  void *items[64];
  int count = 0;
  while ((items[count] = stave_pool_get(one, STAVE_NOWAIT)) != NULL) count++;
  CHECK(count >= 12 && stave_pool_get(two, STAVE_NOWAIT) == NULL);
  while (count > 0) stave_pool_put(one, items[--count]);
  // Pages of the first are idle, and go to the second.
  void *item = stave_pool_get(two, STAVE_NOWAIT);
  CHECK(item != NULL && unused >= 1);
  stave_pool_put(two, item);
  // Whether a page goes is said truly.
  int before = unused;
  CHECK(stave_pool_reclaim(two, 1) == 1 && unused > before);
  before = unused;
  CHECK(stave_pool_reclaim(two, 1) == 0 && unused == before);
  CHECK(stave_pool_destroy(one) == 0 && stave_pool_destroy(two) == 0);
  for (int index = 0; index < 4; index++) CHECK(!taken[index]);
}

static int made, unmade;
static int make(void *object, size_t size, void *arg, int flags) {
  CHECK(arg == &made && size == 64 && flags != 0);
  memset(object, 5, size), made++;
  return 0;
}
static void unmake(void *object, size_t size, void *arg) { (void)size, CHECK(arg == &made && *(char *)object == 5), unmade++; }
static void caches(void) {
  pool = stave_pool_create("objects", 64, 7, 0, STAVE_ZONE_NOTOUCH, NULL);
  struct stave_pool_cache *cache = stave_pool_cache_create(pool, make, unmake, &made);
  CHECK(cache != NULL);
  void *objects[40];
  for (int round = 0; round < 3; round++) {
    for (int index = 0; index < 40; index++) CHECK((objects[index] = stave_pool_cache_get(cache, STAVE_WAITOK)) != NULL && *(char *)objects[index] == 5);
    for (int index = 0; index < 40; index++) stave_pool_cache_put(cache, objects[index]);
  }
  // Item checks pass caches by.
  const char *options = getenv("STAVE_OPTIONS");
  int isChecked = options != NULL && strstr(options, "check") != NULL;
  CHECK(isChecked ? made == 120 && unmade == 120 : made == 40 && unmade == 0);
  stave_pool_cache_invalidate(cache);
  CHECK(unmade == made);
  stave_pool_cache_put(cache, stave_pool_cache_get(cache, STAVE_NOWAIT));
  stave_pool_cache_destroy(cache);
  CHECK(unmade == made && stave_pool_destroy(pool) == 0);
}

int main(void) {
  refusals();
  limits();
  siblings();
  caches();
  puts("fine");
  return 0;
}
