// SPDX-License-Identifier: BSD-2-Clause
//
// copies: pairs whose block libc asks for, on behalf of the program: strdup and free. Where memory is counted for callers, the
// walk goes one step over libc.

#include "workload.h"
#include <string.h>

void copies(Run *run) {
  uint64_t count = scaled(run, 20000000), sum = 0;
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    char *copy = strdup("a text of a good forty bytes, as they come");
    if (!copy) die("out of memory");
    keep(copy);
    sum += (uint64_t)copy[i & 31];
    free(copy);
  }
  end(run);
  run->ops = count;
  run->checksum = sum;
}
