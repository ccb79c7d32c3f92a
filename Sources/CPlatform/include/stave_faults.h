// SPDX-License-Identifier: BSD-2-Clause
//
// Faults of one range of addresses, of which the program is not to know: a handler of SIGSEGV, and of SIGBUS where missing pages are
// guards (MemGuard+Lane), that looks whether the address is ours, and leaves everything else to the handler that was there. And what
// chance is made of for guards: a lot for each CPU.
//
// No name of libc's is taken for it. `stave_watch_faults` puts the handler in place, with the flags and the mask of the one it stands
// before, so that the kernel does for it what it would have done: the stack that the program chose, the signals it blocked. Called again,
// it looks at what the kernel has: a handler that the program has installed meanwhile, be it by a system call of its own, is from then
// on the one that is left everything else. Each time has a function of its own, so that a program which calls the handler that it found
// when it installed its own comes to the one that stood before that: never round in circles.

#ifndef STAVE_FAULTS_H
#define STAVE_FAULTS_H

#include "stave_storage.h"

enum { STAVE_READ = 0, STAVE_WRITE = 1, STAVE_EXECUTE = 2, STAVE_UNKNOWN_ACCESS = 3 };

struct stave_fault {
  uintptr_t address;
  uintptr_t pc, sp, bp;           // of the code that touched it
  int access;
};

// Whether the program may go on where it was; otherwise the fault is the program's.
typedef _Bool (*stave_fault_function)(const struct stave_fault *_Nonnull fault);

// Faults from `start` on are `function`'s, and SIGBUS for an address that is missing from `lane` on, if that lies in there. A system call
// for each signal, two if something has changed. False if the program has changed handlers so often that no function is left; then the
// last one stays the program's.
_Bool stave_watch_faults(uintptr_t start, uintptr_t bytes, uintptr_t lane, stave_fault_function _Nonnull function);
// In the child of a fork, whose parent may have been in it.
void stave_watch_in_child(void);

enum { STAVE_LOTS = 64 };
// A cache line for each CPU, modulo their number. Plain words: two threads that meet in one may count once.
struct stave_lot {
  int64_t left;                   // requests until the next that is guarded
  int64_t too_small;              // requests that were below the least size
  uint64_t chance;
  uint64_t reserved[5];
};
extern struct stave_lot stave_lots_storage[STAVE_LOTS] STAVE_HIDDEN;
static inline struct stave_lot *_Nonnull stave_lots(void) { return stave_lots_storage; }

#endif
