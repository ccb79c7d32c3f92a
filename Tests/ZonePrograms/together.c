// SPDX-License-Identifier: BSD-2-Clause
//
// Zones beside malloc, whoever's it is: both under load from several threads, neither knows the other's memory.

#include <pthread.h>
#include <stave.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static struct stave_zone *zone;

static void *work(void *seed) {
  uint64_t mine = (uint64_t)(uintptr_t)seed + 1;
  void *blocks[100] = {0}, *items[100] = {0};
  for (int round = 0; round < 20000; round++) {
    mine = mine * 6364136223846793005u + 1442695040888963407u;
    int slot = (int)(mine >> 33) % 100;
    free(blocks[slot]), stave_zone_free(zone, items[slot]);
    CHECK((blocks[slot] = malloc(64)) != NULL && (items[slot] = stave_zone_alloc(zone, STAVE_WAITOK)) != NULL);
    CHECK(blocks[slot] != items[slot]);
    memset(blocks[slot], 1, 64), memset(items[slot], 2, 64);
  }
  for (int slot = 0; slot < 100; slot++) free(blocks[slot]), stave_zone_free(zone, items[slot]);
  return NULL;
}

int main(int count, char **arguments) {
  zone = stave_zone_create("beside malloc", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  CHECK(zone != NULL);
  pthread_t threads[4];
  for (uintptr_t index = 0; index < 4; index++) CHECK(pthread_create(&threads[index], NULL, work, (void *)index) == 0);
  for (int index = 0; index < 4; index++) pthread_join(threads[index], NULL);
  void *kept = stave_zone_alloc(zone, STAVE_WAITOK);
  puts("fine"), fflush(stdout);
  // Somebody looks at it meanwhile.
  if (count > 1) CHECK(system(arguments[1]) == 0);
  stave_zone_free(zone, kept);
  CHECK(stave_zone_destroy(zone) == 0);
  return 0;
}
