// SPDX-License-Identifier: BSD-2-Clause
//
// walk-WAY SIZE: what it costs to go through the first fields of 512 items, in an order that nothing can guess. They are 512 cache lines,
// which a first-level cache holds; but where all items begin at the same place of their pages they fall on a few of its sets, which
// hold some of them. The ways: `spread`, a zone with STAVE_ZONE_CACHESPREAD; `plain`, the same zone without; `blocks`, malloc.

#include "workload.h"
#include "zones.h"

enum { items = 512 };

static void *place[items];

// One ring through all items, by their first words.
static void measure(Run *run) {
  uint64_t state = run->seed;
  for (int i = items - 1; i > 0; i--) {
    int other = (int)drawBelow(&state, (uint64_t)i + 1);
    void *item = place[i];
    place[i] = place[other];
    place[other] = item;
  }
  for (int i = 0; i < items; i++) *(void **)place[i] = place[(i + 1) % items];
  uint64_t rounds = scaled(run, 400000);
  void *at = place[0];
  for (int i = 0; i < 4 * items; i++) at = *(void *volatile *)at;  // what can be in the cache is
  begin(run);
  for (uint64_t i = 0; i < rounds; i++) {
    for (int step = 0; step < items; step++) at = *(void *volatile *)at;
  }
  end(run);
  run->ops = rounds * items;
  run->checksum = run->ops + (at == place[0]);
}

static void inZone(Run *run, uint32_t flags) {
  find(stave_zone_create);
  find(stave_zone_alloc);
  find(stave_zone_memory);
  struct stave_zone *zone = stave_zone_create_("walked", run->argument, NULL, NULL, NULL, NULL, STAVE_ALIGN_CACHE, flags);
  for (int i = 0; i < items; i++) {
    if (!zone || !(place[i] = stave_zone_alloc_(zone, STAVE_NOWAIT))) die("out of memory");
  }
  reportFigure("bytes", stave_zone_memory_(zone) / items);
  measure(run);
}

void walkSpread(Run *run) { inZone(run, STAVE_ZONE_CACHESPREAD); }
void walkPlain(Run *run) { inZone(run, 0); }

void walkBlocks(Run *run) {
  for (int i = 0; i < items; i++) {
    if (!(place[i] = malloc(run->argument))) die("out of memory");
  }
  measure(run);
}
