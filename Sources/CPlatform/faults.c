// SPDX-License-Identifier: BSD-2-Clause
//
// The handler behind stave_faults.h. It runs wherever the program was, also inside malloc: so it takes no lock, calls nothing of
// libc's, and leaves errno alone.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CPlatform.h"
#include <signal.h>
#include <ucontext.h>

struct stave_lot stave_lots_storage[STAVE_LOTS] __attribute__((aligned(64)));

// As the kernel has it.
struct action {
  void (*handler)(int, siginfo_t *, void *);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};

enum { LEVELS = 8, RESTORER = 0x04000000 };

static struct {
  uintptr_t start, bytes;
  stave_fault_function function;
  uint32_t is_changing;
  int used;                       // functions that have been in place
  struct action before[LEVELS];   // what each one stands before
  _Bool is_spent[LEVELS];         // that was for one signal only, which it has had
} watch;

#if defined(__x86_64__)
// What a handler returns to. Debuggers and unwinders know the frame of a signal by these very bytes.
__asm__(".pushsection .text\n\tnop\n\t.balign 16\nstave_restore:\n\t.byte 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05\n\t.popsection");
void stave_restore(void) STAVE_HIDDEN;
#define STAVE_RESTORE stave_restore
#else
#define STAVE_RESTORE NULL
#endif

static long change(const struct action *new, struct action *old) {
  return stave_syscall6(SYS_rt_sigaction, SIGSEGV, (long)new, (long)old, 8, 0, 0);
}

static void pass_on(int level, int signal, siginfo_t *info, void *context) {
  const struct action *to = &watch.before[level];
  _Bool is_sent = info->si_code <= 0;
  if ((void *)to->handler == (void *)SIG_IGN && is_sent) return;
  if ((void *)to->handler == (void *)SIG_DFL || (void *)to->handler == (void *)SIG_IGN || watch.is_spent[level]) {
    // The default action, at the same place: by the same instruction once more, or when this handler has returned.
    struct action none = { 0 };
    change(&none, NULL);
    if (is_sent) stave_syscall6(SYS_tgkill, stave_getpid(), stave_gettid(), signal, 0, 0, 0);
    return;
  }
  if (to->flags & (unsigned long)SA_RESETHAND) watch.is_spent[level] = 1;
  to->handler(signal, info, context);
}

static void meet(int level, int signal, siginfo_t *info, void *context) {
  uintptr_t address = (uintptr_t)info->si_addr;
  if (info->si_code > 0 && address - watch.start < watch.bytes) {
    struct stave_fault fault = { .address = address, .access = STAVE_UNKNOWN_ACCESS };
    const ucontext_t *at = context;
#if defined(__x86_64__)
    fault.pc = (uintptr_t)at->uc_mcontext.gregs[REG_RIP];
    fault.sp = (uintptr_t)at->uc_mcontext.gregs[REG_RSP];
    fault.bp = (uintptr_t)at->uc_mcontext.gregs[REG_RBP];
    // The processor's error code: bit 1 a write, bit 4 an instruction.
    long error = (long)at->uc_mcontext.gregs[REG_ERR];
    fault.access = error & 16 ? STAVE_EXECUTE : error & 2 ? STAVE_WRITE : STAVE_READ;
#elif defined(__aarch64__)
    fault.pc = at->uc_mcontext.pc;
    fault.sp = at->uc_mcontext.sp;
    fault.bp = at->uc_mcontext.regs[29];
#endif
    if (watch.function(&fault)) return;
  }
  pass_on(level, signal, info, context);
}

#define AT(level) static void at_##level(int signal, siginfo_t *info, void *context) { meet(level, signal, info, context); }
AT(0) AT(1) AT(2) AT(3) AT(4) AT(5) AT(6) AT(7)
static void (*const levels[LEVELS])(int, siginfo_t *, void *) = { at_0, at_1, at_2, at_3, at_4, at_5, at_6, at_7 };

// The level whose function this is, or which stands before this very action; one that has not been in place; or none.
static int level_for(const struct action *now, _Bool *is_ours) {
  for (int level = 0; level < LEVELS; level++) if ((*is_ours = now->handler == levels[level])) return level;
  for (int level = 0; level < watch.used; level++) {
    const struct action *known = &watch.before[level];
    if (known->handler == now->handler && known->flags == now->flags && known->mask == now->mask) return level;
  }
  return watch.used < LEVELS ? watch.used : -1;
}

_Bool stave_watch_faults(uintptr_t start, uintptr_t bytes, stave_fault_function function) {
  struct action now = { 0 };
  _Bool is_ours = 0;
  if (change(NULL, &now) != 0) return 0;
  if (!stave_claim(&watch.is_changing)) return 1;  // another thread is at it
  int level = level_for(&now, &is_ours);
  watch.function = function;
  watch.bytes = bytes;
  watch.start = start;
  if (!is_ours && level >= 0) {
    // What is for one signal only is set back by pass_on.
    unsigned long kept = now.flags & (unsigned long)(SA_ONSTACK | SA_NODEFER | SA_RESTART);
    struct action ours = { levels[level], kept | SA_SIGINFO | (STAVE_RESTORE ? RESTORER : 0), STAVE_RESTORE, now.mask };
    watch.before[level] = now;
    watch.is_spent[level] = 0;
    if (level == watch.used) watch.used = level + 1;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    change(&ours, NULL);
  }
  __atomic_store_n(&watch.is_changing, 0, __ATOMIC_RELEASE);
  return level >= 0;
}

void stave_watch_in_child(void) { watch.is_changing = 0; }
