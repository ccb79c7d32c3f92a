// SPDX-License-Identifier: BSD-2-Clause
//
// Zones over several memory domains, of which the option makes up two, one for even CPUs and one for odd: where items come from, and
// where those go that are freed elsewhere.

#include <errno.h>
#include <sched.h>
#include <stave.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { MANY = 500 };
static void *items[MANY];

// Goes to a CPU of a domain; whether there is one.
static int hop(const cpu_set_t *allowed, int domain) {
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    cpu_set_t one;
    if (!CPU_ISSET(cpu, allowed) || cpu % 2 != domain) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) return 1;
  }
  return 0;
}

static void constructed(void) {
  struct stave_zone *zone = stave_zone_create("chosen", 200, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_FIRSTTOUCH);
  for (int number = 0; number < MANY; number++) {
    items[number] = stave_zone_alloc_domain(zone, NULL, number % 2, number % 3 == 0 ? STAVE_WAITOK : STAVE_NOWAIT | STAVE_ZERO);
    CHECK(items[number] != NULL && stave_zone_domain_of(zone, items[number]) == number % 2);
  }
  for (int number = 0; number < MANY; number++) stave_zone_free(zone, items[number]);
  CHECK(stave_zone_reclaim_domain(zone, STAVE_RECLAIM_DRAIN_CPU, 1) == 0 && stave_zone_memory(zone) > 0);
  CHECK(stave_zone_reclaim_domain(NULL, STAVE_RECLAIM_DRAIN_CPU, 0) == 0 && stave_zone_memory(zone) == 0);
  CHECK(stave_zone_reclaim_domain(zone, STAVE_RECLAIM_DRAIN, 1) == 0);
  CHECK(stave_zone_reclaim_domain(zone, STAVE_RECLAIM_DRAIN, 2) == -1 && errno == EINVAL);
  CHECK(stave_zone_reclaim_domain(zone, 9, 0) == -1 && stave_zone_reclaim_domain(zone, STAVE_RECLAIM_TRIM, -1) == -1);
  CHECK(stave_zone_domain_of(zone, items) == -1 && stave_zone_domain_of(zone, NULL) == -1);
  // Another on its slabs knows their domains.
  struct stave_zone *second = stave_zone_create_secondary("second", NULL, NULL, NULL, NULL, 0, zone);
  for (int number = 0; number < 6; number++) items[number] = stave_zone_alloc_domain(second, NULL, number % 2, STAVE_WAITOK);
  CHECK(stave_zone_domain_of(second, items[5]) == 1);
  for (int number = 0; number < 6; number++) stave_zone_free(second, items[number]);
  CHECK(stave_zone_destroy(second) == 0 && stave_zone_destroy(zone) == 0);
  // Who waits for memory of a domain is counted.
  zone = stave_zone_create("bounded", 4000, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_FIRSTTOUCH);
  CHECK(stave_zone_reserve_addresses(zone, 2) == 0);
  int count = 0;
  struct stave_zone_stat stat;
  while ((items[count] = stave_zone_alloc_domain(zone, NULL, 1, STAVE_NOWAIT)) != NULL) count++;
  CHECK(count > 0 && stave_zone_alloc_domain(zone, NULL, 1, STAVE_WAITOK | STAVE_CANFAIL) == NULL);
  stave_zone_get_stat(zone, &stat);
  CHECK(stat.sleeps == 1 && stat.fails == 2);
  while (count > 0) stave_zone_free(zone, items[--count]);
  CHECK(stave_zone_destroy(zone) == 0);
}

static void firstTouch(const cpu_set_t *allowed) {
  struct stave_zone *zone = stave_zone_create("near", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_FIRSTTOUCH);
  struct stave_zone_stat stat;
  for (int domain = 0; domain < 2; domain++) {
    if (!hop(allowed, domain)) continue;
    for (int number = 0; number < MANY; number++) {
      items[number] = stave_zone_alloc(zone, STAVE_NOWAIT);
      CHECK(items[number] != NULL && stave_zone_domain_of(zone, items[number]) == domain);
      memset(items[number], domain, 64);
    }
    stave_zone_get_stat(zone, &stat);
    uint64_t before = stat.xdomain;
    int isElsewhere = hop(allowed, 1 - domain);
    for (int number = 0; number < MANY; number++) stave_zone_free(zone, items[number]);
    stave_zone_get_stat(zone, &stat);
    CHECK(stat.xdomain - before == (isElsewhere ? MANY : 0) && stat.used == 0);
    if (isElsewhere) {
      void *item = stave_zone_alloc(zone, STAVE_NOWAIT);
      CHECK(stave_zone_domain_of(zone, item) == 1 - domain);
      stave_zone_free(zone, item);
    }
  }
  sched_setaffinity(0, sizeof *allowed, allowed);
  CHECK(stave_zone_set_max(zone, 20) == 20);
  int count = 0;
  while ((items[count] = stave_zone_alloc(zone, STAVE_NOWAIT)) != NULL) count++;
  CHECK(count <= 20 && stave_zone_get_cur(zone) == 20);
  while (count > 0) stave_zone_free(zone, items[--count]);
  CHECK(stave_zone_destroy(zone) == 0);
}

static void roundRobin(void) {
  struct stave_zone *zone = stave_zone_create("spread", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_ROUNDROBIN);
  int counts[2] = {0, 0};
  for (int number = 0; number < MANY; number++) {
    items[number] = stave_zone_alloc(zone, STAVE_WAITOK);
    counts[stave_zone_domain_of(zone, items[number])]++;
  }
  CHECK(abs(counts[0] - counts[1]) <= 64);
  for (int number = 0; number < MANY; number++) stave_zone_free(zone, items[number]);
  struct stave_zone_stat stat;
  stave_zone_get_stat(zone, &stat);
  CHECK(stat.xdomain == 0 && stat.cached > 0);
  for (int domain = 0; domain < 2; domain++) CHECK(stave_zone_reclaim_domain(zone, STAVE_RECLAIM_DRAIN_CPU, domain) == 0);
  stave_zone_get_stat(zone, &stat);
  CHECK(stat.cached == 0 && stave_zone_memory(zone) == 0);
  CHECK(stave_zone_destroy(zone) == 0);
}

int main(void) {
  cpu_set_t allowed;
  CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0 && setenv("STAVE_OPTIONS", "domains:2", 1) == 0);
  CHECK(stave_zone_domains() == 2);
  struct stave_zone *plain = stave_zone_create("plain", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  void *item = stave_zone_alloc(plain, STAVE_WAITOK);
  CHECK(stave_zone_domain_of(plain, item) == 0);
  stave_zone_free(plain, item);
  CHECK(stave_zone_destroy(plain) == 0);
  const uint32_t both = STAVE_ZONE_FIRSTTOUCH | STAVE_ZONE_ROUNDROBIN, far = STAVE_ZONE_FIRSTTOUCH | STAVE_ZONE_PCPU;
  CHECK(stave_zone_create("none", 8, NULL, NULL, NULL, NULL, 7, both) == NULL && errno == EINVAL);
  CHECK(stave_zone_create("none", 8, NULL, NULL, NULL, NULL, 7, far) == NULL && errno == EINVAL);
  constructed();
  firstTouch(&allowed);
  roundRobin();
  puts("fine");
  return 0;
}
