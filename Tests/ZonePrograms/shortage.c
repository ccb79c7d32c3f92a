// SPDX-License-Identifier: BSD-2-Clause
//
// Where memory is limited and one zone's caches have nearly all of it: a request that may wait gets some, of whatever kind it is.

#include <stave.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static void *items[400000];
static int told;
static void hear(void *arg) { CHECK(arg == items), told++; }

int main(int count, char **arguments) {
  CHECK(count > 1);
  struct stave_zone *full = stave_zone_create("full", 256, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  CHECK(full != NULL);
  int made = 0;
  while (made < 400000 && (items[made] = stave_zone_alloc(full, STAVE_NOWAIT)) != NULL) made++;
  CHECK(made > 1000 && made < 400000);
  for (int index = 0; index < made; index++) stave_zone_free(full, items[index]);
  struct stave_zone_stat stat;
  stave_zone_get_stat(full, &stat);
  CHECK(stat.used == 0 && stat.cached > 1000);
  alarm(60);
  CHECK(stave_event_add(STAVE_EVENT_LOWMEM, hear, items) == 0);
  if (strcmp(arguments[1], "zone") == 0) {
    struct stave_zone *zone = stave_zone_create("empty", 512, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
    CHECK(zone != NULL);
    // Takes nothing from others, and asks the system alone.
    int plain = 0;
    while (stave_zone_alloc(zone, STAVE_NOWAIT) != NULL) plain++;
    CHECK(plain < made / 4);
    for (int index = 0; index < made / 4; index++) CHECK(stave_zone_alloc(zone, STAVE_WAITOK) != NULL);
    CHECK(stave_zone_memory(full) < 1 << 20);
  } else if (strcmp(arguments[1], "pool") == 0) {
    struct stave_pool *pool = stave_pool_create("empty", 100, STAVE_ALIGN_PTR, 0, 0, NULL);
    CHECK(pool != NULL);
    for (int index = 0; index < made; index++) CHECK(stave_pool_get(pool, STAVE_WAITOK) != NULL);
  } else {
    for (int index = 0; index < made / 16; index++) CHECK(stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_PKTHDR) != NULL);
  }
  CHECK(told > 0);
  puts("fine");
  return 0;
}
