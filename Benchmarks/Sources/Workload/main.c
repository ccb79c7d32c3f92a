// SPDX-License-Identifier: BSD-2-Clause
//
// workload NAME [ARGUMENT [SCALE [SEED]]]: runs one workload and prints its figures, one `name value` a line.
// If STAVE_BENCH_EXPECT names a library, malloc must come from it, or the run fails: a preload that did not take
// must never pass for a measurement.

#include "workload.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name; Workload *body; } workloads[] = {
  {"pairs", pairs}, {"batch", batch}, {"lifetimes", lifetimes}, {"growth", growth}, {"large", large},
  {"large-mix", largeMix}, {"zeroed", zeroed}, {"pareto", pareto}, {"bignum", bignum}, {"containers", containers},
  {"handoff", handoff}, {"phases", phases}, {"mailboxes", mailboxes}, {"server", server}, {"parallel", parallel},
  {"brief", brief}, {"threads-at-once", threadsAtOnce}, {"threads-in-turn", threadsInTurn}, {"idle", idle},
  {"idle-random", idleRandom}, {"scale-live", scaleLive}, {"scale-threads", scaleThreads}, {"scale-large", scaleLarge},
  {"count-none", countNone}, {"count-types", countTypes}, {"count-atomic", countAtomic}, {"count-mutex", countMutex},
  {"copies", copies}, {"zone-pairs", zonePairs},
  {"walk-spread", walkSpread}, {"walk-plain", walkPlain}, {"walk-blocks", walkBlocks},
  {"pool-page-near", poolPageNear}, {"pool-page-any", poolPageAny}, {"pool-map-near", poolMapNear}, {"pool-map-any", poolMapAny},
  {"pool-tree-near", poolTreeNear}, {"pool-tree-any", poolTreeAny}, {"pool-zone-near", poolZoneNear}, {"pool-zone-any", poolZoneAny},
  {"pool-blocks-near", poolBlocksNear}, {"pool-blocks-any", poolBlocksAny},
  {"lookup-smr", lookupSMR}, {"lookup-rwlock", lookupRWLock}, {"lookup-mutex", lookupMutex},
  {"packet-allocate", packetAllocate}, {"packet-append", packetAppend}, {"packet-prepend", packetPrepend},
  {"packet-share", packetShare}, {"packet-split", packetSplit}, {"packet-pullup", packetPullUp},
  {"packet-hold", packetHold},
};
enum { workloadCount = sizeof workloads / sizeof *workloads };

static void expect(const char *library) {
  Dl_info found;
  // libstavezones.so leaves malloc alone.
  void *address = dlsym(RTLD_DEFAULT, strstr(library, "libstavezones") ? "stave_zone_alloc" : "malloc");
  if (!address || !dladdr(address, &found) || !found.dli_fname) die("malloc is nowhere");
  char wanted[PATH_MAX], actual[PATH_MAX];
  if (!realpath(library, wanted) || !realpath(found.dli_fname, actual) || strcmp(wanted, actual) != 0) {
    fprintf(stderr, "workload: malloc comes from %s, not from %s\n", found.dli_fname, library);
    exit(4);
  }
}

int main(int count, char **words) {
  const char *library = getenv("STAVE_BENCH_EXPECT");
  if (library && *library) expect(library);
  Run run = {
    .argument = count > 2 ? strtoull(words[2], NULL, 10) : 0,
    .scale = count > 3 ? strtod(words[3], NULL) : 1,
    .seed = count > 4 ? strtoull(words[4], NULL, 10) : 42,
  };
  for (int i = 0; count > 1 && i < workloadCount; i++) {
    if (strcmp(workloads[i].name, words[1]) != 0) continue;
    workloads[i].body(&run);
    if (run.ops) reportFigure("ops", run.ops);
    if (run.ops) reportFigure("ns", run.ended - run.begun);
    if (run.ops) reportFigure("cpu_ns", run.endedCPU - run.begunCPU);
    reportFigure("checksum", run.checksum);
    return 0;
  }
  fprintf(stderr, "usage: workload NAME [ARGUMENT [SCALE [SEED]]], with NAME one of\n ");
  for (int i = 0; i < workloadCount; i++) fprintf(stderr, " %s", workloads[i].name);
  fprintf(stderr, "\n");
  return 2;
}
