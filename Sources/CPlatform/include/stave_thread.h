// SPDX-License-Identifier: BSD-2-Clause
//
// The one word that belongs to a thread. Only builds that check the order of locks have it, so that libstave.so uses no
// thread-local storage at all.

#ifndef STAVE_THREAD_H
#define STAVE_THREAD_H

#ifdef STAVE_CHECK_LOCKS
extern __thread void *_Nullable stave_thread_slot_storage __attribute__((tls_model("initial-exec")));
static inline void *_Nullable *_Nonnull stave_thread_slot(void) { return &stave_thread_slot_storage; }
#endif

#endif
