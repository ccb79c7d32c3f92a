// SPDX-License-Identifier: BSD-2-Clause
//
// What belongs to a thread: one word, the malloc type whose scope it is in (Heap/Scope.swift). Zero in a new thread. Initial-exec:
// one load from where the thread pointer points, at the price of 8 bytes of what libc keeps for libraries that are loaded late.
// Builds that check the order of locks have a second word.

#ifndef STAVE_THREAD_H
#define STAVE_THREAD_H

#include "stave_storage.h"
#include "stave_type.h"

extern __thread struct stave_type *_Nullable stave_thread_type_storage STAVE_HIDDEN __attribute__((tls_model("initial-exec")));
static inline struct stave_type *_Nullable stave_thread_type(void) { return stave_thread_type_storage; }
static inline void stave_set_thread_type(struct stave_type *_Nullable type) { stave_thread_type_storage = type; }

#ifdef STAVE_CHECK_LOCKS
extern __thread void *_Nullable stave_thread_slot_storage __attribute__((tls_model("initial-exec")));
static inline void *_Nullable *_Nonnull stave_thread_slot(void) { return &stave_thread_slot_storage; }
#endif

#endif
