// SPDX-License-Identifier: BSD-2-Clause
//
// Deferred reuse: readers without locks walk pairs of equal numbers, while writers replace and free them. A number that changes under a
// reader would show that an item was reused too early. And what contexts say of goals.

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stave.h>
#include <stdatomic.h>

#include "check.h"

struct pair { uint64_t first, second; };
enum { slots = 16, replacements = 60000 };
static _Atomic(struct pair *) table[slots];
static struct stave_smr *smr;
static struct stave_zone *zone;
static atomic_int over, destructed;
static atomic_ulong seen;

static void endPair(void *item, size_t size, void *arg) {
  (void)size, (void)arg;
  struct pair *pair = item;
  pair->first = 0, pair->second = 1;  // what no reader may see
  atomic_fetch_add(&destructed, 1);
}

static void *reader(void *unused) {
  (void)unused;
  while (!atomic_load(&over)) {
    stave_smr_enter(smr);
    for (int slot = 0; slot < slots; slot++) {
      struct pair *pair = atomic_load_explicit(&table[slot], memory_order_acquire);
      uint64_t first = *(volatile uint64_t *)&pair->first;
      stave_smr_enter(smr);
      uint64_t second = *(volatile uint64_t *)&pair->second;
      stave_smr_exit(smr);
      CHECK(first == second);
    }
    stave_smr_exit(smr);
    atomic_fetch_add(&seen, slots);
  }
  return NULL;
}

static struct pair *newPair(uint64_t number) {
  struct pair *pair = stave_zone_alloc_smr(zone, STAVE_WAITOK);
  CHECK(pair != NULL);
  pair->first = pair->second = number;
  return pair;
}

int main(void) {
  smr = stave_smr_create();
  CHECK(smr != NULL);
  zone = stave_zone_create_smr("pairs", sizeof(struct pair), NULL, endPair, NULL, NULL, STAVE_ALIGN_PTR, 0, smr);
  CHECK(zone != NULL && stave_zone_get_smr(zone) == smr);
  CHECK(stave_smr_destroy(smr) == -1 && errno == EBUSY);
  for (int slot = 0; slot < slots; slot++) atomic_store(&table[slot], newPair(5));
  pthread_t readers[3];
  for (int index = 0; index < 3; index++) CHECK(pthread_create(&readers[index], NULL, reader, NULL) == 0);
  for (uint64_t number = 0; number < replacements; number++) {
    struct pair *old = atomic_exchange(&table[draw(slots)], newPair(number));
    stave_zone_free_smr(zone, old);
  }
  // On a busy machine readers may not have begun yet.
  while (atomic_load(&seen) <= slots) sched_yield();
  atomic_store(&over, 1);
  for (int index = 0; index < 3; index++) pthread_join(readers[index], NULL);

  // A section holds up its goal; without one a goal is reached.
  stave_smr_enter(smr);
  uint64_t goal = stave_smr_advance(smr);
  CHECK(stave_smr_poll(smr, goal) == 0);
  stave_smr_exit(smr);
  CHECK(stave_smr_poll(smr, goal) == 1 && stave_smr_wait(smr, goal) == 1 && stave_smr_synchronize(smr) == 1);

  for (int slot = 0; slot < slots; slot++) stave_zone_free_smr(zone, atomic_load(&table[slot]));
  stave_zone_free_smr(zone, NULL);
  CHECK(stave_zone_destroy(zone) == 0 && atomic_load(&destructed) == replacements + slots);
  CHECK(stave_smr_destroy(smr) == 0 && stave_smr_destroy(NULL) == 0);

  // One with a context of its own.
  zone = stave_zone_create("own", 32, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_SMR);
  CHECK(zone != NULL && stave_zone_get_smr(zone) != NULL);
  stave_zone_free_smr(zone, stave_zone_alloc_smr(zone, STAVE_NOWAIT | STAVE_ZERO));
  CHECK(stave_zone_destroy(zone) == 0);
  puts("fine");
  return 0;
}
