// SPDX-License-Identifier: BSD-2-Clause
//
// The traced process: the subject, which rests at a trap between operations and has a signal handler that takes steps too,
// and the helper, a second, untraced thread that takes steps when the tracer asks.

#ifndef SUBJECT_H
#define SUBJECT_H

#include "model.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>

// Where the subject waits: the tracer sees the trap.
__asm__(".text\n.globl subjectRest, subjectRested\nsubjectRest:\n\tint3\nsubjectRested:\n\tret\n");
extern void subjectRest(void);
extern const char subjectRested[];

static void onSignal(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  world->inHandler = 1;
  world->interrupted = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
  world->handlerCPU = stave_rseq_cpu();
  world->handled++;
  for (const Step *step = world->handlerSteps; step->kind != END; step++) really(&world->holders[handler], *step);
  world->inHandler = 0;
}

static void *help(void *unused) {
  (void)unused;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  for (uint32_t seen = 0;; seen++) {
    while (__atomic_load_n(&world->asked, __ATOMIC_ACQUIRE) == seen) syscall(SYS_futex, &world->asked, 0, seen, NULL, NULL, 0);
    for (const Step *step = world->helperSteps; step->kind != END; step++) {
      if (step->kind != EMPTY && step->kind != REFILL) moveThread(0, world->cpu[number(step->where)]);
      really(&world->holders[helper], *step);
    }
    __atomic_store_n(&world->done, seen + 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &world->done, 1, 1, NULL, NULL, 0);
  }
  return NULL;
}

__attribute__((noreturn)) static void beSubject(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  startSections();
  for (int i = 0; i < 2; i++) stave_cpu_table()[world->cpu[i]] = world->cells[i];
  struct sigaction action = {.sa_sigaction = onSignal, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, help, NULL) != 0) _exit(3);
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(skipped);
  for (;;) {
    subjectRest();
    really(&world->holders[subject], world->request);
  }
}

#endif
