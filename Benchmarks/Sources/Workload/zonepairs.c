// SPDX-License-Identifier: BSD-2-Clause
//
// zone-pairs SIZE: pairs, on a zone of items of that size instead of malloc.

#include "workload.h"
#include "zones.h"
#include <dlfcn.h>

void *foundCall(const char *name) {
  void *call = dlsym(RTLD_DEFAULT, name);
  if (!call) die("libstavezones.so is not preloaded");
  return call;
}

void zonePairs(Run *run) {
  find(stave_zone_create);
  find(stave_zone_alloc);
  find(stave_zone_free);
  struct stave_zone *zone = stave_zone_create_("pairs", run->argument, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  if (!zone) die("no zone");
  uint64_t count = scaled(run, 100000000), sum = 0;
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t *item = stave_zone_alloc_(zone, STAVE_NOWAIT);
    if (!item) die("out of memory");
    *item = i;
    keep(item);
    sum += *item;
    stave_zone_free_(zone, item);
  }
  end(run);
  run->ops = count;
  run->checksum = sum;
}
