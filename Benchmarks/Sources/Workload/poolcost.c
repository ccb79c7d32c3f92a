// SPDX-License-Identifier: BSD-2-Clause
//
// pool-WAY-RANGE PAGES: what get and put of a pool cost when it has so many pages of two items, in pairs of one item put and another got
// in its place. RANGE `near`: 700 items are in use at a time, all others free; `any`: three items of four are in use, and any of them is
// put. The ways: `page`, a pool whose pages, of 64 KiB, begin with their headers; `map`, headers elsewhere, found by the owner map;
// `tree`, pages of the caller's, of 4 KiB, found in a tree; `zone`, a zone; `blocks`, malloc of 1,984 bytes. The items are not touched.

#include "workload.h"
#include "zones.h"
#include <sys/mman.h>

enum { near = 700, pageBytes = 4096 };

// Pages one behind the other, never used again.
static char *next, *behind;

static void *page(void *unused, size_t bytes, int flags) {
  (void)unused, (void)flags;
  char *one = next;
  if (bytes > (size_t)(behind - one)) return NULL;
  next += bytes;
  return one;
}

static void leave(void *unused, void *pages, size_t bytes) { (void)unused, (void)pages, (void)bytes; }

static struct stave_pool_allocator *ownPages(uint64_t count) {
  find(stave_pool_allocator_create);
  size_t bytes = (count + 64) * pageBytes;
  next = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (next == MAP_FAILED) die("no addresses");
  behind = next + bytes;
  return stave_pool_allocator_create_(page, leave, NULL, pageBytes, 0);
}

typedef struct Way {
  void *(*get)(void *from);
  void (*put)(void *from, void *item);
  void *from;
} Way;

static void measure(Run *run, Way way, int isNear) {
  uint64_t all = run->argument * 2, used = isNear ? near : all / 4 * 3, state = run->seed;
  void **items = mmap(NULL, all * sizeof *items, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (items == MAP_FAILED) die("no memory");
  for (uint64_t i = 0; i < all; i++) {
    if (!(items[i] = way.get(way.from))) die("out of memory");
  }
  if (!isNear) {
    for (uint64_t i = all - 1; i > 0; i--) {
      uint64_t other = drawBelow(&state, i + 1);
      void *item = items[i];
      items[i] = items[other];
      items[other] = item;
    }
  }
  for (uint64_t i = used; i < all; i++) way.put(way.from, items[i]);
  uint64_t count = scaled(run, 2000000), warm = 20000;
  for (uint64_t i = 0; i < warm + count; i++) {
    if (i == warm) begin(run);
    uint64_t which = drawBelow(&state, used);
    way.put(way.from, items[which]);
    items[which] = way.get(way.from);
  }
  end(run);
  run->ops = 2 * count;
  run->checksum = run->ops;
}

static void *getOfPool(void *pool) {
  static void *(*call)(struct stave_pool *, int);
  if (!call) call = (void *(*)(struct stave_pool *, int))foundCall("stave_pool_get");
  return call(pool, STAVE_NOWAIT);
}

static void putToPool(void *pool, void *item) {
  static void (*call)(struct stave_pool *, void *);
  if (!call) call = (void (*)(struct stave_pool *, void *))foundCall("stave_pool_put");
  call(pool, item);
}

static void *getOfZone(void *zone) {
  static void *(*call)(struct stave_zone *, int);
  if (!call) call = (void *(*)(struct stave_zone *, int))foundCall("stave_zone_alloc");
  return call(zone, STAVE_NOWAIT);
}

static void putToZone(void *zone, void *item) {
  static void (*call)(struct stave_zone *, void *);
  if (!call) call = (void (*)(struct stave_zone *, void *))foundCall("stave_zone_free");
  call(zone, item);
}

static void *getBlock(void *unused) {
  (void)unused;
  return malloc(pageBytes / 2 - 64);
}

static void putBlock(void *unused, void *block) {
  (void)unused;
  free(block);
}

static void ofPool(Run *run, size_t size, uint32_t flags, struct stave_pool_allocator *pages, int isNear) {
  find(stave_pool_create);
  find(stave_pool_get_stat);
  struct stave_pool *pool = stave_pool_create_("cost", size, 7, 0, flags, pages);
  if (!pool) die("no pool");
  measure(run, (Way){getOfPool, putToPool, pool}, isNear);
  struct stave_pool_stat stat;
  stave_pool_get_stat_(pool, &stat);
  reportFigure("pages", stat.pages);
  reportFigure("steps_x100", stat.steps * 100 / (stat.gets + stat.puts));
}

static void inPage(Run *run, int isNear) { ofPool(run, 30000, 0, NULL, isNear); }
static void byMap(Run *run, int isNear) { ofPool(run, 32768, STAVE_ZONE_NOTOUCH, NULL, isNear); }

static void byTree(Run *run, int isNear) {
  ofPool(run, pageBytes / 2, STAVE_ZONE_NOTOUCH | STAVE_ZONE_NOTPAGE, ownPages(run->argument), isNear);
}

static void ofZone(Run *run, int isNear) {
  find(stave_zone_create);
  struct stave_zone *zone = stave_zone_create_("cost", pageBytes / 2, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_NOTOUCH);
  if (!zone) die("no zone");
  measure(run, (Way){getOfZone, putToZone, zone}, isNear);
}

static void ofBlocks(Run *run, int isNear) { measure(run, (Way){getBlock, putBlock, NULL}, isNear); }

#define forBothRanges(name, of) \
  void name##Near(Run *run) { of(run, 1); } \
  void name##Any(Run *run) { of(run, 0); }
forBothRanges(poolPage, inPage)
forBothRanges(poolMap, byMap)
forBothRanges(poolTree, byTree)
forBothRanges(poolZone, ofZone)
forBothRanges(poolBlocks, ofBlocks)
