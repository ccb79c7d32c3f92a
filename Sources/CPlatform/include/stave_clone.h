// SPDX-License-Identifier: BSD-2-Clause
//
// A thread of our own, made without libc: a malloc may not call pthread_create, which allocates and takes locks that the
// caller of malloc may hold. The thread has a small stack and a thread pointer of its own (no libc call may be made on it),
// all signals blocked, and clears `*tid` when it ends.

#ifndef STAVE_CLONE_H
#define STAVE_CLONE_H

#include "stave_syscalls.h"

#if defined(__x86_64__)
static inline long stave_start_thread(void (*_Nonnull body)(void), void *_Nonnull stack_top, void *_Nonnull thread_pointer,
                                      int *_Nonnull tid) {
  STAVE_MAY_FAIL;
  uint64_t all = ~0ull, before = 0;
  stave_syscall6(SYS_rt_sigprocmask, 2 /* SETMASK */, (long)&all, (long)&before, 8, 0, 0);
  // VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID
  long flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x200000;
  uint64_t *top = stack_top;
  *--top = (uint64_t)body;
  long result;
  register long r10 __asm__("r10") = (long)tid;
  register long r8 __asm__("r8") = (long)thread_pointer;
  __asm__ volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "popq %%rax\n\t"
      "call *%%rax\n\t"
      "xorl %%edi, %%edi\n\t"
      "movl %[exit], %%eax\n\t"
      "syscall\n"
      "1:\n"
      : "=a"(result)
      : "a"((long)SYS_clone), "D"(flags), "S"(top), "d"(tid), "r"(r10), "r"(r8), [exit] "i"(SYS_exit)
      : "rcx", "r11", "memory");
  stave_syscall6(SYS_rt_sigprocmask, 2, (long)&before, 0, 8, 0, 0);
  return result;
}
#else
static inline long stave_start_thread(void (*_Nonnull body)(void), void *_Nonnull stack_top, void *_Nonnull thread_pointer,
                                      int *_Nonnull tid) {
  (void)body; (void)stack_top; (void)thread_pointer; (void)tid;
  return -38;
}
#endif

#endif
