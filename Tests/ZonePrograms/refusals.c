// SPDX-License-Identifier: BSD-2-Clause
//
// Zones that cannot be, and what is asked of a zone of the wrong kind: EINVAL, and nothing made or changed.

#include <errno.h>
#include <stave.h>
#include <string.h>

#include "check.h"

// Of a call that answers null or -1.
#define REFUSED(call) CHECK((errno = 0, !(call)) && errno == EINVAL)
#define INVALID(call) CHECK((errno = 0, (call) == -1) && errno == EINVAL)

static int objects[64];
static size_t next_object;
static size_t import(void *arg, void **store, size_t count, int flags) {
  (void)arg, (void)flags;
  size_t done = 0;
  while (done < count && next_object < 64) store[done++] = &objects[next_object++];
  return done;
}
static void release(void *arg, void **store, size_t count) { (void)arg, (void)store, (void)count; }
static void *pages(void *arg, size_t size, int flags, uint8_t *mark) {
  (void)mark;
  (void)arg, (void)flags;
  void *memory = aligned_alloc(4096, size);
  if (memory) memset(memory, 0, size);
  return memory;
}
static void pages_back(void *arg, void *memory, size_t size, uint8_t mark) { (void)arg, (void)size, (void)mark, free(memory); }

static struct stave_zone *zone(size_t size, size_t align, uint32_t flags) { return stave_zone_create("refused", size, NULL, NULL, NULL, NULL, align, flags); }
static struct stave_zone *deferred(uint32_t flags) { return stave_zone_create_smr("refused", 64, NULL, NULL, NULL, NULL, 7, flags, NULL); }
static struct stave_zone *cache(stave_zone_import in, stave_zone_release out, uint32_t flags) {
  return stave_zone_create_cache("refused", sizeof(int), NULL, NULL, NULL, NULL, in, out, NULL, flags);
}

static void sizes(void) {
  REFUSED(zone(0, 7, 0));
  REFUSED(zone((size_t)1 << 41, 7, 0));
  REFUSED(zone(SIZE_MAX, 7, 0));
  REFUSED(zone((size_t)1 << 63, 7, 0));
  REFUSED(zone(5000, 7, STAVE_ZONE_PCPU));
  REFUSED(zone((size_t)1 << 41, 7, STAVE_ZONE_NOTPAGE));
  REFUSED(zone((size_t)1 << 41, 7, STAVE_ZONE_FIRSTTOUCH));
  REFUSED(stave_zone_create_smr("refused", (size_t)1 << 41, NULL, NULL, NULL, NULL, 7, 0, NULL));
  REFUSED(stave_zone_create_cache("refused", 0, NULL, NULL, NULL, NULL, import, release, NULL, 0));
  REFUSED(zone(8, 6, 0));
  REFUSED(zone(8, SIZE_MAX, 0));
  REFUSED(zone(8, 7, 1U << 31));
  REFUSED(zone(8, 7, 1 << 2));
  REFUSED(zone(8, 7, STAVE_ZONE_MAXBUCKET | STAVE_ZONE_NOBUCKET));
  REFUSED(zone(8, 7, STAVE_ZONE_MAXBUCKET | STAVE_ZONE_PCPU));
  REFUSED(deferred(STAVE_ZONE_MAXBUCKET | STAVE_ZONE_NOBUCKET));
  REFUSED(cache(import, release, STAVE_ZONE_MAXBUCKET | STAVE_ZONE_NOBUCKET));
}

// Deferred reuse goes with nothing that has no queue, or whose items are not where their slab is.
static void readers(void) {
  const uint32_t not_with[] = {STAVE_ZONE_PCPU, STAVE_ZONE_FIRSTTOUCH, STAVE_ZONE_ROUNDROBIN, STAVE_ZONE_NOTPAGE | STAVE_ZONE_ROUNDROBIN};
  for (size_t index = 0; index < sizeof not_with / sizeof *not_with; index++) {
    REFUSED(deferred(not_with[index]));
    REFUSED(zone(64, 7, not_with[index] | STAVE_ZONE_SMR));
  }
  struct stave_zone *counted = deferred(STAVE_ZONE_REFCNT | STAVE_ZONE_NOBUCKET);
  CHECK(counted != NULL);
  char *item = stave_zone_alloc_smr(counted, STAVE_WAITOK | STAVE_ZERO);
  CHECK(item != NULL && *stave_zone_find_refcnt(counted, item) == 0);
  stave_zone_free_smr(counted, item);
  CHECK(stave_zone_destroy(counted) == 0);
}

static void caches(void) {
  const uint32_t not_with[] = {STAVE_ZONE_ZINIT, STAVE_ZONE_OFFPAGE, STAVE_ZONE_NOFREE, STAVE_ZONE_VM, STAVE_ZONE_REFCNT, STAVE_ZONE_CACHESPREAD,
    STAVE_ZONE_NOTOUCH, STAVE_ZONE_PCPU, STAVE_ZONE_SMR, STAVE_ZONE_NODUMP, STAVE_ZONE_NOTPAGE, STAVE_ZONE_FIRSTTOUCH, STAVE_ZONE_ROUNDROBIN};
  for (size_t index = 0; index < sizeof not_with / sizeof *not_with; index++) REFUSED(cache(import, release, not_with[index]));
  REFUSED(cache(NULL, release, 0));
  REFUSED(cache(import, NULL, 0));
  REFUSED(cache(NULL, NULL, 0));
  const uint32_t with[] = {0, STAVE_ZONE_MAXBUCKET, STAVE_ZONE_NOBUCKET, STAVE_ZONE_UNMANAGED};
  for (size_t index = 0; index < sizeof with / sizeof *with; index++) {
    struct stave_zone *handles = cache(import, release, with[index]);
    CHECK(handles != NULL);
    next_object = 0;
    // It has no slabs, so there is nothing to make ahead, to set aside, or to have pages for.
    INVALID(stave_zone_prealloc(handles, 10, STAVE_NOWAIT));
    INVALID(stave_zone_prealloc(handles, 0, STAVE_WAITOK));
    INVALID(stave_zone_reserve_addresses(handles, 10));
    INVALID(stave_zone_set_source(handles, pages, pages_back, NULL, 1));
    INVALID(stave_zone_add_keg(handles, handles));
    REFUSED(stave_zone_create_secondary("refused", NULL, NULL, NULL, NULL, 0, handles));
    CHECK(stave_zone_get_smr(handles) == NULL && stave_zone_size(handles) == sizeof(int) && stave_zone_memory(handles) == 0);
    int *object = stave_zone_alloc(handles, STAVE_WAITOK);
    CHECK(object != NULL && stave_zone_domain_of(handles, object) == 0);
    stave_zone_free(handles, object);
    CHECK(stave_zone_destroy(handles) == 0);
  }
}

static void sources(void) {
  struct stave_zone *apart = zone(100, 7, STAVE_ZONE_NOTPAGE), *kept = zone(100, 7, STAVE_ZONE_NOTPAGE | STAVE_ZONE_NOFREE);
  CHECK(apart != NULL && kept != NULL);
  INVALID(stave_zone_set_source(apart, NULL, pages_back, NULL, 1));
  INVALID(stave_zone_set_source(apart, NULL, NULL, NULL, 1));
  INVALID(stave_zone_set_source(apart, pages, NULL, NULL, 1));
  INVALID(stave_zone_set_source(kept, NULL, NULL, NULL, 1));
  CHECK(stave_zone_set_source(apart, pages, pages_back, NULL, 1) == 0);
  // What is never given back needs nobody who takes it.
  CHECK(stave_zone_set_source(kept, pages, NULL, NULL, 1) == 0);
  struct stave_zone *both[] = {apart, kept};
  for (int index = 0; index < 2; index++) {
    char *item = stave_zone_alloc(both[index], STAVE_WAITOK | STAVE_ZERO);
    CHECK(item != NULL && item[99] == 0);
    stave_zone_free(both[index], item);
    CHECK(stave_zone_reclaim(both[index], STAVE_RECLAIM_DRAIN_CPU) == 0 && stave_zone_destroy(both[index]) == 0);
  }
  struct stave_zone *ordinary = zone(100, 7, 0);
  INVALID(stave_zone_set_source(ordinary, pages, pages_back, NULL, 1));
  CHECK(stave_zone_destroy(ordinary) == 0);
}

static void counts(void) {
  const size_t values[] = {SIZE_MAX, SIZE_MAX - 4, (size_t)1 << 63};
  struct stave_zone *some = zone(64, 7, 0);
  for (size_t index = 0; index < 3; index++) {
    CHECK((errno = 0, stave_zone_prealloc(some, values[index], STAVE_NOWAIT)) == -1 && errno == ENOMEM);
    CHECK((errno = 0, stave_zone_reserve_addresses(some, values[index])) == -1 && errno == ENOMEM);
  }
  INVALID(stave_zone_reserve_addresses(some, 0));
  CHECK(stave_zone_memory(some) == 0);
  // So many as there can be at most are no limit worth the name, and are kept as what they are.
  CHECK(stave_zone_set_max(some, SIZE_MAX) > 0 && stave_zone_get_max(some) > 0 && stave_zone_set_max(some, 0) == 0);
  stave_zone_reserve(some, SIZE_MAX);
  void *item = stave_zone_alloc(some, STAVE_NOWAIT | STAVE_USE_RESERVE);
  CHECK(item != NULL);
  stave_zone_free(some, item);
  CHECK(stave_zone_destroy(some) == 0);
}

int main(void) {
  sizes();
  readers();
  caches();
  sources();
  counts();
  puts("fine");
  return 0;
}
