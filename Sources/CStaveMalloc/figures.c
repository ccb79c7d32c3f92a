// SPDX-License-Identifier: BSD-2-Clause
//
// glibc's questions about the heap: mallinfo, mallinfo2, malloc_info. In C for their results, which are C structures returned
// by value, and for fprintf.

#define _GNU_SOURCE
#include "stave_entry.h"
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>

struct totals { size_t used, free, large_bytes, large_count, purgeable, mapped; };

STAVE_EXPORT struct mallinfo2 mallinfo2(void) {
  struct totals totals = { 0 };
  stave_totals((size_t *)&totals);
  struct mallinfo2 info = { 0 };
  info.arena = totals.mapped;
  info.hblks = totals.large_count;
  info.hblkhd = totals.large_bytes;
  info.uordblks = totals.used;
  info.fordblks = totals.free + totals.purgeable;
  info.keepcost = totals.purgeable;
  return info;
}

static int clamp(size_t value) { return value > INT32_MAX ? INT32_MAX : (int)value; }

STAVE_EXPORT struct mallinfo mallinfo(void) {
  struct mallinfo2 wide = mallinfo2();
  struct mallinfo info = { 0 };
  info.arena = clamp(wide.arena);
  info.hblks = clamp(wide.hblks);
  info.hblkhd = clamp(wide.hblkhd);
  info.uordblks = clamp(wide.uordblks);
  info.fordblks = clamp(wide.fordblks);
  info.keepcost = clamp(wide.keepcost);
  return info;
}

STAVE_EXPORT int malloc_info(int options, FILE *file) {
  if (options != 0) return EINVAL;
  struct totals totals = { 0 };
  stave_totals((size_t *)&totals);
  fprintf(file,
          "<malloc version=\"stave-1\">\n<system type=\"current\" size=\"%zu\"/>\n<total type=\"used\" size=\"%zu\"/>\n"
          "<total type=\"free\" size=\"%zu\"/>\n<total type=\"large\" count=\"%zu\" size=\"%zu\"/>\n"
          "<total type=\"purgeable\" size=\"%zu\"/>\n</malloc>\n",
          totals.mapped, totals.used, totals.free, totals.large_count, totals.large_bytes, totals.purgeable);
  return 0;
}
