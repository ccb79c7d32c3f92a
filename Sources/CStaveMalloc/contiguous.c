// SPDX-License-Identifier: BSD-2-Clause
//
// contigmalloc's seven words, of which the seventh is on the stack, where Swift's convention is not known to be C's: one pointer for five.

#include "stave_entry.h"
#include "stave.h"

void *stave_contiguous_allocate(const size_t *conditions, struct stave_type *type, int flags);

STAVE_EXPORT void *stave_contigmalloc(size_t size, struct stave_type *type, int flags, unsigned long low, unsigned long high,
                                      unsigned long alignment, unsigned long boundary) {
  const size_t conditions[] = { size, low, high, alignment, boundary };
  return stave_contiguous_allocate(conditions, type, flags);
}
