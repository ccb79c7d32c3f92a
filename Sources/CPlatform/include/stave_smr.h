// SPDX-License-Identifier: BSD-2-Clause
//
// The reader's side of safe memory reclamation (Zones/SMR.swift says what the words mean and why the order suffices): a thread's
// word, and what goes into it when a section begins and ends. A context is an array of cache lines: two of its own, that of the
// crowd, then one for each thread that has a place.

#ifndef STAVE_SMR_H
#define STAVE_SMR_H

#include "stave_syscalls.h"
#include "stave_storage.h"

enum {
  STAVE_SMR_LINE = 64,
  STAVE_SMR_CROWD = 2 * STAVE_SMR_LINE,   // the record of all threads that have no place
  STAVE_SMR_PLACES = 32768 - 3,           // of threads, behind it
  STAVE_SMR_STEP = 1 << 16,               // from one sequence to the next; what is below counts sections
};

struct stave_smr {
  uint64_t write;                 // the present sequence
  uint32_t fences;                // 1: readers fence themselves, for want of membarrier
  uint32_t reserved;
  uint64_t line[6];
  uint64_t read;                  // no reader is in a section that began before this one
  struct stave_smr *_Nullable next;
  int64_t users;                  // zones
  uint64_t rest[5];
};
_Static_assert(sizeof(struct stave_smr) == STAVE_SMR_CROWD, "two lines");

// In bytes from the beginning of any context to this thread's record: 0 before its first section.
extern __thread uint32_t stave_smr_place_storage STAVE_HIDDEN __attribute__((tls_model("initial-exec")));
static inline uint32_t stave_smr_place(void) { return stave_smr_place_storage; }
static inline void stave_smr_set_place(uint32_t place) { stave_smr_place_storage = place; }

static inline uint64_t *_Nonnull stave_smr_record(struct stave_smr *_Nonnull smr, uint32_t place) {
  return (uint64_t *)((char *)smr + place);
}

// False if this thread has no place of its own: nothing has been done.
static inline _Bool stave_section_enter(struct stave_smr *_Nonnull smr) {
  uint32_t place = stave_smr_place_storage;
  if (__builtin_expect(place <= STAVE_SMR_CROWD, 0)) return 0;
  uint64_t *record = stave_smr_record(smr, place);
  uint64_t word = __atomic_load_n(record, __ATOMIC_RELAXED);
  if (word == 0) word = __atomic_load_n(&smr->write, __ATOMIC_ACQUIRE);
  __atomic_store_n(record, word + 1, __ATOMIC_RELAXED);
  if (__builtin_expect(smr->fences, 0)) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  else __atomic_signal_fence(__ATOMIC_SEQ_CST);
  return 1;
}

static inline _Bool stave_section_exit(struct stave_smr *_Nonnull smr) {
  uint32_t place = stave_smr_place_storage;
  if (__builtin_expect(place <= STAVE_SMR_CROWD, 0)) return 0;
  uint64_t *record = stave_smr_record(smr, place);
  uint64_t word = __atomic_load_n(record, __ATOMIC_RELAXED);
  __atomic_store_n(record, (word & (STAVE_SMR_STEP - 1)) <= 1 ? 0 : word - 1, __ATOMIC_RELEASE);
  return 1;
}

// The new sequence. What was stored before is seen by whoever loads it.
static inline uint64_t stave_sequence_advance(struct stave_smr *_Nonnull smr) {
  return __atomic_add_fetch(&smr->write, STAVE_SMR_STEP, __ATOMIC_SEQ_CST);
}

static inline _Bool stave_replace_word(uint64_t *_Nonnull where, uint64_t old, uint64_t new) {
  return __atomic_compare_exchange_n(where, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

// Whether this process has the thread, as far as the system says.
static inline _Bool stave_thread_exists(uint32_t thread) {
  return stave_syscall6(SYS_tgkill, stave_getpid(), (long)thread, 0, 0, 0, 0) != -3 /* ESRCH */;
}

#endif
