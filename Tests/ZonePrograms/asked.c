// SPDX-License-Identifier: BSD-2-Clause
//
// A program at work that is asked for something from outside: it allocates and frees more than its caches hold, as its first argument says,
// until the command in its second one has ended. Then it frees an item twice if there is a third.

#include <pthread.h>
#include <stave.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static const char *kind;
static struct stave_zone *zone;
static atomic_int is_over, finished;

static void end(void *item, size_t size) { (void)item, (void)size, finished++; }

static void *work(void *unused) {
  (void)unused;
  static void *items[3000];
  struct stave_pool *pool = stave_pool_create("asked", 100, STAVE_ALIGN_PTR, 0, 0, NULL);
  CHECK(pool != NULL);
  while (!is_over) {
    for (int index = 0; index < 3000; index++) {
      if (strcmp(kind, "pool") == 0) {
        items[index] = stave_pool_get(pool, STAVE_NOWAIT);
      } else if (strcmp(kind, "packets") == 0) {
        items[index] = stave_m_getcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR);
      } else {
        items[index] = stave_zone_alloc(zone, STAVE_WAITOK);
      }
      CHECK(items[index] != NULL);
    }
    for (int index = 0; index < 3000; index++) {
      if (strcmp(kind, "pool") == 0) {
        stave_pool_put(pool, items[index]);
      } else if (strcmp(kind, "packets") == 0) {
        stave_m_freem(items[index]);
      } else {
        stave_zone_free(zone, items[index]);
      }
    }
    usleep(1000);
  }
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count > 2);
  kind = arguments[1];
  zone = stave_zone_create("asked", 100, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  // What is cached in it goes only where its fini may run.
  struct stave_zone *idle = stave_zone_create("idle", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  CHECK(zone != NULL && idle != NULL);
  stave_zone_set_hooks(idle, NULL, end);
  static void *items[3000];
  for (int index = 0; index < 3000; index++) CHECK((items[index] = stave_zone_alloc(idle, STAVE_NOWAIT)) != NULL);
  for (int index = 0; index < 3000; index++) stave_zone_free(idle, items[index]);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
  CHECK(system(arguments[2]) == 0);
  is_over = 1;
  pthread_join(thread, NULL);
  printf("%s\n", finished > 0 ? "fini ran" : "no fini"), fflush(stdout);
  if (count > 3) {
    void *item = stave_zone_alloc(zone, STAVE_NOWAIT);
    stave_zone_free(zone, item);
    stave_zone_free(zone, stave_zone_alloc(zone, STAVE_NOWAIT)), stave_zone_free(zone, item), stave_zone_free(zone, item);
  }
  return 0;
}
