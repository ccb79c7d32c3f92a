// SPDX-License-Identifier: BSD-2-Clause
//
// Mistakes, by name, each of which ends the process with a report; and two that do not.

#include <sched.h>
#include <stave.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static long room[4096];
static void *askew(void *argument, size_t bytes, int flags, uint8_t *mark) {
  (void)flags, (void)mark;
  CHECK(bytes <= sizeof room - 80);
  return (void *)((((uintptr_t)room + 63) & ~(uintptr_t)63) + (argument == NULL ? 16 : 0));
}
static void back(void *argument, void *memory, size_t bytes, uint8_t mark) { (void)argument, (void)memory, (void)bytes, (void)mark; }
static void *page(void *argument, size_t bytes, int flags, uint8_t *mark) {
  (void)argument, (void)flags, (void)mark;
  return aligned_alloc(bytes, bytes);
}
static void drop(void *argument, void *memory, size_t bytes, uint8_t mark) {
  (void)argument, (void)bytes, (void)mark;
  free(memory);
}
static void end(struct stave_zone *zone) { stave_zone_destroy(zone); }
static void want(struct stave_zone *zone) { stave_zone_alloc(zone, STAVE_WAITOK); }

int main(int count, char **arguments) {
  CHECK(count == 2);
  const char *mistake = arguments[1];
  struct stave_zone *zone = stave_zone_create("victims", 48, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_NOBUCKET);
  struct stave_zone *other = stave_zone_create("strangers", 48, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_NOBUCKET);
  struct stave_zone *cached = stave_zone_create("cached", 48, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  char *item = stave_zone_alloc(zone, STAVE_WAITOK), *kept = stave_zone_alloc(cached, STAVE_WAITOK);
  static char elsewhere[64];
  if (strcmp(mistake, "double") == 0) {
    printf("%p\n", (void *)item), fflush(stdout);
    stave_zone_free(zone, item), stave_zone_free(zone, item);
  } else if (strcmp(mistake, "cached") == 0) {
    printf("%p\n", (void *)kept), fflush(stdout);
    stave_zone_free(cached, kept), stave_zone_free(cached, kept);
  } else if (strcmp(mistake, "foreign") == 0) {
    printf("%p\n", (void *)elsewhere), fflush(stdout);
    stave_zone_free(zone, elsewhere);
  } else if (strncmp(mistake, "0x", 2) == 0) {
    // Where nothing is, or nothing can be.
    printf("%s\n", mistake), fflush(stdout);
    stave_zone_free(zone, (void *)(uintptr_t)strtoull(mistake, NULL, 16));
  } else if (strncmp(mistake, "put 0x", 6) == 0) {
    // To a pool on pages of its author's, each with its header.
    struct stave_pool_allocator *pages = stave_pool_allocator_create(page, drop, NULL, (size_t)sysconf(_SC_PAGESIZE), 0);
    struct stave_pool *pool = stave_pool_create("puddle", 64, STAVE_ALIGN_PTR, 0, 0, pages);
    CHECK(pool != NULL && stave_pool_get(pool, STAVE_WAITOK) != NULL);
    printf("%s\n", mistake + 4), fflush(stdout);
    stave_pool_put(pool, (void *)(uintptr_t)strtoull(mistake + 4, NULL, 16));
  } else if (strcmp(mistake, "askew") == 0 || strcmp(mistake, "late source") == 0) {
    struct stave_zone *lines = stave_zone_create("lines", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_CACHE, STAVE_ZONE_NOTPAGE);
    int isLate = strcmp(mistake, "late source") == 0;
    CHECK(lines != NULL && stave_zone_set_source(lines, askew, back, isLate ? room : NULL, 0) == 0);
    void *line = stave_zone_alloc(lines, STAVE_NOWAIT);
    if (!isLate) return line == NULL ? 4 : 5;
    CHECK(line != NULL && stave_zone_set_source(lines, askew, back, room, 0) == -1);
  } else if (strcmp(mistake, "malloc") == 0) {
    char *block = malloc(48);
    printf("%p\n", (void *)block), fflush(stdout);
    stave_zone_free(zone, block);
  } else if (strcmp(mistake, "other") == 0) {
    printf("%p\n", (void *)item), fflush(stdout);
    stave_zone_free(other, item);
  } else if (strcmp(mistake, "inside") == 0) {
    printf("%p\n", (void *)(item + 8)), fflush(stdout);
    stave_zone_free(zone, item + 8);
  } else if (strcmp(mistake, "packet") == 0 || strcmp(mistake, "mbuf") == 0) {
    struct stave_mbuf *mbuf = strcmp(mistake, "packet") == 0 ? stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_PKTHDR) : stave_m_get(STAVE_WAITOK, STAVE_MT_DATA);
    printf("%p\n", (void *)mbuf), fflush(stdout);
    stave_m_freem(mbuf);
    if (mbuf == stave_m_free(mbuf)) return 2;
    stave_m_freem(mbuf);
  } else if (strcmp(mistake, "flags") == 0) {
    // Of requests that the cache of this CPU serves.
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    stave_zone_free(cached, kept);
    kept = stave_zone_alloc(cached, STAVE_WAITOK);
    const int flags[] = {0, 3, 4, 0x8001, 0x4001, STAVE_NOWAIT, STAVE_WAITOK, STAVE_WAITOK | STAVE_CANFAIL, STAVE_NOWAIT | STAVE_ZERO};
    stave_zone_free(cached, kept);
    for (size_t index = 0; index < sizeof flags / sizeof *flags; index++) {
      CHECK(stave_zone_alloc(cached, flags[index]) == kept);
      stave_zone_free(cached, kept);
    }
    CHECK(stave_zone_alloc_arg(cached, NULL, 0x2001) == kept);
    struct stave_mbuf *mbuf = stave_m_getcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR);
    stave_m_freem(mbuf);
    CHECK(stave_m_getcl(0x1003, STAVE_MT_DATA, STAVE_M_PKTHDR) == mbuf);
  } else if (strcmp(mistake, "ends") == 0 || strcmp(mistake, "waits") == 0) {
    stave_zone_set_max(zone, 1);
    stave_zone_set_maxaction(zone, strcmp(mistake, "ends") == 0 ? end : want);
    CHECK(stave_zone_alloc(zone, STAVE_NOWAIT) == NULL);
    for (;;) sleep(1);
  } else if (strcmp(mistake, "leaked") == 0) {
    printf("victims\n"), fflush(stdout);
    CHECK(stave_zone_destroy(zone) == 1);
    return 3;
  }
  return 0;
}
