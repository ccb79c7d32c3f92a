// SPDX-License-Identifier: BSD-2-Clause
//
// For the target Own: what only C can say of the start of a core that a program has linked in.

#ifndef COWN_H
#define COWN_H

// What is called at the start, with the environment, or null where it must not be trusted: false if that failed; around fork; and at the end.
struct stave_own_steps {
  _Bool (*_Nonnull begin)(const char *_Nullable const *_Nullable environment);
  void (*_Nonnull prepare_fork)(void);
  void (*_Nonnull parent_after_fork)(void);
  void (*_Nonnull child_after_fork)(void);
  void (*_Nonnull finish)(void);
};

// The first call begins; others wait for it. False where it failed: the next call tries again.
_Bool stave_begin_own(struct stave_own_steps steps) __attribute__((visibility("hidden")));
// Around what is done once: no other thread does such a thing meanwhile, and none forks. Not recursive.
void stave_lock_own(void) __attribute__((visibility("hidden")));
void stave_unlock_own(void) __attribute__((visibility("hidden")));
// A thread that takes no signals but those of its own faults, and calls `work`, which does not return. False if the system has none.
// errno is left alone.
_Bool stave_start_worker(void (*_Nonnull work)(void)) __attribute__((visibility("hidden")));

#endif
