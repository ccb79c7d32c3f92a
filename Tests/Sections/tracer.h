// SPDX-License-Identifier: BSD-2-Clause
//
// What the tracer can do to the subject: look and change, stop it by debug registers or steps, move it, ask the helper.

#ifndef TRACER_H
#define TRACER_H

#include "subject.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/user.h>
#include <sys/wait.h>

static pid_t tracee;
static uintptr_t areaAddress;
static bool hasBreakpoints, bothWays;
static char trying[200];
static unsigned long failures, trials, restarts, signalsTaken, migrations;

__attribute__((noreturn, format(printf, 1, 2))) static void giveUp(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("FAILED: %s: ", trying);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
  fflush(stdout);
  if (tracee > 0) kill(tracee, SIGKILL);
  exit(1);
}

__attribute__((format(printf, 1, 2))) static void failed(const char *format, ...) {
  if (++failures > 20) return;
  va_list arguments;
  va_start(arguments, format);
  printf("FAILED: %s: ", trying);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
}

static void onAlarm(int signal) {
  (void)signal;
  if (tracee > 0) kill(tracee, SIGKILL);
  if (write(1, "FAILED: no end: ", 16) < 0 || write(1, trying, strlen(trying)) < 0 || write(1, "\n", 1) < 0) _exit(1);
  _exit(1);
}

static uintptr_t peekUser(size_t offset) {
  errno = 0;
  long value = ptrace(PTRACE_PEEKUSER, tracee, (void *)offset, NULL);
  if (errno) giveUp("PTRACE_PEEKUSER: %s", strerror(errno));
  return (uintptr_t)value;
}
static bool pokeUser(size_t offset, uintptr_t value) { return ptrace(PTRACE_POKEUSER, tracee, (void *)offset, (void *)value) == 0; }
static uintptr_t here(void) { return peekUser(offsetof(struct user, regs.rip)); }

static uintptr_t peek(uintptr_t address) {
  errno = 0;
  long value = ptrace(PTRACE_PEEKDATA, tracee, (void *)address, NULL);
  if (errno) giveUp("PTRACE_PEEKDATA: %s", strerror(errno));
  return (uintptr_t)value;
}
static uintptr_t descriptor(void) { return peek(areaAddress + 8); }
static void setDescriptor(uintptr_t value) {
  if (ptrace(PTRACE_POKEDATA, tracee, (void *)(areaAddress + 8), (void *)value) != 0) giveUp("PTRACE_POKEDATA: %s", strerror(errno));
}

/// Debug registers 0 and 1 stop at these addresses; 0 for none.
static uintptr_t inForce[2];
static bool breakAt(uintptr_t first, uintptr_t second) {
  if (first == inForce[0] && second == inForce[1]) return true;
  inForce[0] = first, inForce[1] = second;
  size_t base = offsetof(struct user, u_debugreg);
  bool good = pokeUser(base + 7 * 8, 0);
  if (first) good = good && pokeUser(base, first);
  if (second) good = good && pokeUser(base + 8, second);
  return (first || second ? pokeUser(base + 7 * 8, (first ? 1u : 0u) | (second ? 4u : 0u)) : true) && good;
}

/// Goes on, with a signal if not 0, until the next trap; where that is.
static uintptr_t go(enum __ptrace_request how, int signal) {
  int status;
  // The resume flag, which gets a thread past the breakpoint where it stands, would hide one on the abort handler.
  uintptr_t flags = peekUser(offsetof(struct user, regs.eflags)), at = here();
  if (flags & 0x10000 && at != inForce[0] && at != inForce[1]) pokeUser(offsetof(struct user, regs.eflags), flags & ~0x10000ul);
  if (ptrace(how, tracee, NULL, (void *)(uintptr_t)signal) != 0) giveUp("ptrace: %s", strerror(errno));
  if (waitpid(tracee, &status, __WALL) != tracee) giveUp("waitpid: %s", strerror(errno));
  if (!WIFSTOPPED(status)) giveUp("the traced process ended (status %#x)", status);
  if (WSTOPSIG(status) != SIGTRAP) giveUp("signal %d at %#lx", WSTOPSIG(status), here());
  return here();
}

static void move(int where) {
  int error = moveThread(tracee, world->cpu[number(where)]);
  if (error) giveUp("sched_setaffinity of the traced process: %s", strerror(error));
}

static void askHelper(const Step *steps, unsigned room) {
  memset(world->helperSteps, 0, sizeof world->helperSteps);
  memcpy(world->helperSteps, steps, room * sizeof *steps);
  if (steps->kind == END) return;
  uint32_t wanted = world->asked + 1;
  __atomic_store_n(&world->asked, wanted, __ATOMIC_RELEASE);
  syscall(SYS_futex, &world->asked, 1, 1, NULL, NULL, 0);
  for (uint32_t done; (done = __atomic_load_n(&world->done, __ATOMIC_ACQUIRE)) != wanted;)
    syscall(SYS_futex, &world->done, 0, done, NULL, NULL, 0);
}

#endif
