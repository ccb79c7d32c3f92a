// SPDX-License-Identifier: BSD-2-Clause
//
// Where a walk up the stack begins, what of it is our own code, and whether a word can be read.

#ifndef STAVE_STACKS_H
#define STAVE_STACKS_H

#include "stave_storage.h"
#include "stave_syscalls.h"

// Of the function that this is used in, which has one by that. Our other functions have frame pointers where they call (Package.swift),
// since they have no call frame information. 0: there is no way to walk.
#if defined(__x86_64__)
__attribute__((always_inline)) static inline uintptr_t stave_frame_pointer(void) { return (uintptr_t)__builtin_frame_address(0); }
#else
static inline uintptr_t stave_frame_pointer(void) { return 0; }
#endif

// Where libstave.so has its code; not known before its constructor, nor where Stave is part of a program (CStaveMalloc/operators.c).
struct stave_code { uintptr_t start, end; };
extern struct stave_code stave_own_code STAVE_HIDDEN;
static inline void stave_set_own_code(uintptr_t start, uintptr_t end) { stave_own_code = (struct stave_code){ start, end }; }
static inline _Bool stave_is_library(void) { return stave_own_code.end != 0; }
static inline _Bool stave_is_own_code(uintptr_t pc) { return pc >= stave_own_code.start && pc < stave_own_code.end; }

// Whether eight bytes can be read. The kernel reads them, and then refuses what they are for: the way is no number of one.
static inline _Bool stave_can_read(uintptr_t address) {
  return stave_syscall6(SYS_rt_sigprocmask, -1, (long)address, 0, 8, 0, 0) == -22;
}

#endif
