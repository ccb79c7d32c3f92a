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

// Of one signal.
struct chain {
  int used;                       // functions that have been in place
  struct action before[LEVELS];   // what each one stands before
  _Bool is_spent[LEVELS];         // that was for one signal only, which it has had
};

static struct {
  uintptr_t start, bytes, lane;
  stave_fault_function function;
  uint32_t is_changing;
  struct chain segv, bus;
} watch;

static struct chain *chain_of(int signal) { return signal == SIGBUS ? &watch.bus : &watch.segv; }

#if defined(__x86_64__)
// What a handler returns to. Debuggers and unwinders know the frame of a signal by these very bytes.
__asm__(".pushsection .text\n\tnop\n\t.balign 16\nstave_restore:\n\t.byte 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05\n\t.popsection");
void stave_restore(void) STAVE_HIDDEN;
#define STAVE_RESTORE stave_restore
#else
#define STAVE_RESTORE NULL
#endif

static long change(int signal, const struct action *new, struct action *old) {
  return stave_syscall6(SYS_rt_sigaction, signal, (long)new, (long)old, 8, 0, 0);
}

static void pass_on(int level, int signal, siginfo_t *info, void *context) {
  struct chain *chain = chain_of(signal);
  const struct action *to = &chain->before[level];
  _Bool is_sent = info->si_code <= 0;
  if ((void *)to->handler == (void *)SIG_IGN && is_sent) return;
  if ((void *)to->handler == (void *)SIG_DFL || (void *)to->handler == (void *)SIG_IGN || chain->is_spent[level]) {
    // The default action, at the same place: by the same instruction once more, or when this handler has returned.
    struct action none = { 0 };
    change(signal, &none, NULL);
    if (is_sent) stave_syscall6(SYS_tgkill, stave_getpid(), stave_gettid(), signal, 0, 0, 0);
    return;
  }
  if (to->flags & (unsigned long)SA_RESETHAND) chain->is_spent[level] = 1;
  to->handler(signal, info, context);
}

// SIGBUS is where a page of the lane is missing; a page that the machine has lost, or that is another mapping's, is not for us.
static _Bool is_ours(int signal, int code, uintptr_t address) {
  if (address - watch.start >= watch.bytes) return 0;
  return signal == SIGBUS ? code == BUS_ADRERR && address >= watch.lane : code > 0;
}

static void meet(int level, int signal, siginfo_t *info, void *context) {
  uintptr_t address = (uintptr_t)info->si_addr;
  if (is_ours(signal, info->si_code, address)) {
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
static int level_for(const struct chain *chain, const struct action *now, _Bool *is_ours) {
  for (int level = 0; level < LEVELS; level++) if ((*is_ours = now->handler == levels[level])) return level;
  for (int level = 0; level < chain->used; level++) {
    const struct action *known = &chain->before[level];
    if (known->handler == now->handler && known->flags == now->flags && known->mask == now->mask) return level;
  }
  return chain->used < LEVELS ? chain->used : -1;
}

static _Bool put_first(int signal) {
  struct chain *chain = chain_of(signal);
  struct action now = { 0 };
  _Bool is_ours = 0;
  if (change(signal, NULL, &now) != 0) return 0;
  int level = level_for(chain, &now, &is_ours);
  if (is_ours || level < 0) return level >= 0;
  // What is for one signal only is set back by pass_on.
  unsigned long kept = now.flags & (unsigned long)(SA_ONSTACK | SA_NODEFER | SA_RESTART);
  // In nobody's place it runs on the thread's own stack for signals, where there is one: the other may be used up.
  if ((void *)now.handler == (void *)SIG_DFL || (void *)now.handler == (void *)SIG_IGN) kept |= SA_ONSTACK;
  struct action ours = { levels[level], kept | SA_SIGINFO | (STAVE_RESTORE ? RESTORER : 0), STAVE_RESTORE, now.mask };
  chain->before[level] = now;
  chain->is_spent[level] = 0;
  if (level == chain->used) chain->used = level + 1;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  change(signal, &ours, NULL);
  return 1;
}

_Bool stave_watch_faults(uintptr_t start, uintptr_t bytes, uintptr_t lane, stave_fault_function function) {
  if (!stave_claim(&watch.is_changing)) return 1;  // another thread is at it
  watch.function = function;
  watch.bytes = bytes;
  watch.start = start;
  _Bool is_first = put_first(SIGSEGV);
  watch.lane = lane;
  if (lane - start < bytes) is_first = put_first(SIGBUS) && is_first;
  __atomic_store_n(&watch.is_changing, 0, __ATOMIC_RELEASE);
  return is_first;
}

void stave_watch_in_child(void) { watch.is_changing = 0; }
