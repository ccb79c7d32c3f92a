// SPDX-License-Identifier: BSD-2-Clause
//
// Who called: functions that add their caller's frame and jump on to Swift (StaveMalloc/Callers.swift), which cannot say this.

#include "stave_entry.h"
#include "stave_capture.h"

#define HIDDEN __attribute__((visibility("hidden")))

void *stave_malloc_for(size_t, size_t, size_t, size_t);
void *stave_calloc_for(size_t, size_t, size_t, size_t);
void *stave_new_for(size_t, size_t, size_t, size_t);
void *stave_new_failed(size_t size);
void *stave_realloc_for(void *, size_t, size_t, size_t, size_t);
void *stave_aligned_for(size_t, size_t, size_t, size_t, size_t);
int stave_posix_aligned_for(void **, size_t, size_t, size_t, size_t, size_t);

HIDDEN STAVE_CAPTURING void *stave_slow_malloc(size_t size) { stave_capture_1(stave_malloc_for, size) }
HIDDEN STAVE_CAPTURING void *stave_slow_calloc(size_t bytes) { stave_capture_1(stave_calloc_for, bytes) }
HIDDEN __attribute__((used)) void *stave_new_or_throw(size_t size, size_t pc, size_t sp, size_t bp) {
  void *memory = stave_new_for(size, pc, sp, bp);
  return memory != NULL ? memory : stave_new_failed(size);
}
HIDDEN STAVE_CAPTURING void *stave_slow_new(size_t size) { stave_capture_1(stave_new_or_throw, size) }
HIDDEN STAVE_CAPTURING void *stave_counted_realloc(void *memory, size_t size) { stave_capture_2(stave_realloc_for, memory, size) }
HIDDEN STAVE_CAPTURING int stave_counted_posix_aligned(void **result, size_t alignment, size_t size) {
  stave_capture_3(stave_posix_aligned_for, result, alignment, size)
}
HIDDEN STAVE_CAPTURING void *stave_counted_aligned(size_t alignment, size_t size) { stave_capture_2(stave_aligned_for, alignment, size) }
