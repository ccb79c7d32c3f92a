// SPDX-License-Identifier: BSD-2-Clause
//
// What the C of this target calls: Swift functions of StaveMalloc. And the functions that two of its files share.

#ifndef STAVE_ENTRY_H
#define STAVE_ENTRY_H

#include <stddef.h>

#define STAVE_EXPORT __attribute__((visibility("default")))

void *stave_libc_malloc(size_t size);
void *stave_new(size_t size);
void stave_libc_free(void *memory);
void *stave_new_quietly(size_t size);
void *stave_new_aligned(size_t alignment, size_t size);
void stave_demand_size(void *memory, size_t size, size_t alignment);
void stave_configure(char **environment);
_Bool stave_owns(void *memory);
void stave_step_aside(void (*free)(void *memory));
void stave_at_exit(void);
void stave_prepare_fork(void);
void stave_parent_after_fork(void);
void stave_child_after_fork(void);
void stave_totals(size_t *totals);
// Says which code is the library's, where there is one (CPlatform/stave_stacks.h).
void stave_find_own_code(void);

// Whether an exported name leads here. The compiler may not see through it: to it, different names are different functions.
static inline _Bool stave_is(const void *name, const void *ours) {
  __asm__("" : "+r"(name));
  return name == ours;
}

// The constructor.
void stave_start(int count, char **arguments, char **environment);

#endif
