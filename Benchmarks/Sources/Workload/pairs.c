// SPDX-License-Identifier: BSD-2-Clause
//
// pairs SIZE: the shortest life there is. A block is allocated, written, freed; the next one may reuse it at once.
// What remains is the length of the fast path itself.

#include "workload.h"

void pairs(Run *run) {
  uint64_t count = scaled(run, 100000000), sum = 0;
  size_t size = run->argument;
  begin(run);
  for (uint64_t i = 0; i < count; i++) sum += dispose(allocate(size, i));
  end(run);
  run->ops = count;
  run->checksum = sum;
}
