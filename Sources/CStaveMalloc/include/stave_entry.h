// SPDX-License-Identifier: BSD-2-Clause
//
// What the entry points call: Swift functions of StaveMalloc.

#ifndef STAVE_ENTRY_H
#define STAVE_ENTRY_H

#include <stddef.h>

void *stave_malloc(size_t size);
void *stave_new(size_t size);
void stave_free(void *memory);
void *stave_calloc(size_t count, size_t size);
void *stave_realloc(void *memory, size_t size);
void *stave_aligned(size_t alignment, size_t size);
size_t stave_usable_size(void *memory);
int stave_trim(void);
void stave_configure(char **environment);
void stave_at_exit(void);
void stave_print_zones(int file);
void stave_prepare_fork(void);
void stave_parent_after_fork(void);
void stave_child_after_fork(void);
void stave_totals(size_t *totals);

#endif
