// SPDX-License-Identifier: BSD-2-Clause
//
// Restartable sequences on a CPU's cells: pop one, push one, fill many, flush many. Each is a single section whose last
// instruction, one store of the cell's word, makes it happen; a thread that is moved, preempted or interrupted by a signal
// before that store starts again (rseq(2), Linux 4.18; the registration is glibc's, 2.35 or later).
// An architecture without a header of its own says so by STAVE_HAS_RSEQ 0 and uses the locked cache (Zones/LockedCache); so does a
// build for thread sanitizer, which cannot see into sections.

#ifndef STAVE_RSEQ_H
#define STAVE_RSEQ_H

#include "stave_storage.h"

// Set by glibc; absent before 2.35.
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

static inline int stave_libc_has_rseq(void) { return &__rseq_size != NULL && __rseq_size >= 20; }
static inline int64_t stave_libc_rseq_offset(void) { return &__rseq_offset != NULL ? (int64_t)__rseq_offset : 0; }

#if defined(__x86_64__) && !defined(STAVE_THREAD_SANITIZER)
#include "stave_rseq_x86_64.h"
#else
#define STAVE_HAS_RSEQ 0
static inline int stave_has_rseq(void) { return 0; }
static inline int stave_rseq_cpu(void) { return -1; }
static inline void *_Nullable stave_pop(uint64_t cell) { (void)cell; return NULL; }
enum { STAVE_PUSHED = 0, STAVE_PUSH_FULL = 1, STAVE_PUSH_FOREIGN = 2, STAVE_PUSH_AGAIN = 3 };
static inline int stave_push(uint64_t cell, void *_Nullable item) { (void)cell; (void)item; return STAVE_PUSH_FULL; }
static inline uint64_t stave_fill(uint64_t cell, const uintptr_t *_Nonnull from, uint64_t count, struct stave_cell *_Nullable *_Nonnull into) { (void)cell; (void)from; (void)count; *into = NULL; return 0; }
static inline uint64_t stave_flush(uint64_t cell, uintptr_t *_Nonnull to, uint64_t count, struct stave_cell *_Nullable *_Nonnull outOf) { (void)cell; (void)to; (void)count; *outOf = NULL; return 0; }
#endif

#endif
