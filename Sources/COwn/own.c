// SPDX-License-Identifier: BSD-2-Clause
//
// The start of a core that a program has linked in for zones of its own, whose malloc may be another: once, at the first use; and what
// libc is to call at fork and at the end. libstave's own start is CStaveMalloc/start.c, which must come before everything.
//
// What is done once is done under one lock, which fork takes: so a child never finds anything half done, by a thread that it does not have.
// The handlers are there before anything is: registered at the first use they would be missing from a fork that has begun already.

#define _GNU_SOURCE
#include "COwn.h"
#include "CPlatform.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stave_own_steps own;
// The thread pointer of the thread that is in fork, to which the lock is open: another handler of the program may make a zone.
static uintptr_t forker;

static _Bool is_forking(void) { return __atomic_load_n(&forker, __ATOMIC_RELAXED) == (uintptr_t)__builtin_thread_pointer(); }
static void set_forking(_Bool yes) { __atomic_store_n(&forker, yes ? (uintptr_t)__builtin_thread_pointer() : 0, __ATOMIC_RELAXED); }

void stave_lock_own(void) {
  if (!is_forking()) pthread_mutex_lock(&lock);
}
void stave_unlock_own(void) {
  if (!is_forking()) pthread_mutex_unlock(&lock);
}

// glibc's fork takes the lock of the list of streams after the handlers have run, and a thread that holds it may want a lock of ours: so
// that lock is taken first.
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

static void prepare_fork(void) {
  if (_IO_list_lock) _IO_list_lock();
  pthread_mutex_lock(&lock);
  set_forking(1);
  if (own.begin) own.prepare_fork();
}
static void parent_after_fork(void) {
  if (own.begin) own.parent_after_fork();
  set_forking(0);
  pthread_mutex_unlock(&lock);
  if (_IO_list_unlock) _IO_list_unlock();
}
static void child_after_fork(void) {
  if (own.begin) own.child_after_fork();
  set_forking(0);
  lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  if (_IO_list_resetlock) _IO_list_resetlock();
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(prepare_fork, parent_after_fork, child_after_fork); }

_Bool stave_begin_own(struct stave_own_steps steps) {
  stave_lock_own();
  _Bool is_first = own.begin == NULL, is_begun = 1;
  if (is_first) {
    stave_keep_program_name(program_invocation_name);
    is_begun = steps.begin(getauxval(AT_SECURE) ? NULL : (const char *const *)environ);
    if (is_begun) own = steps;
  }
  stave_unlock_own();
  if (is_first && is_begun) atexit(steps.finish);
  return is_begun;
}

static void *work(void *function) {
  stave_syscall6(SYS_prctl, 15 /* PR_SET_NAME */, (long)"stave-worker", 0, 0, 0, 0);
  ((void (*)(void))function)();
  return NULL;
}
_Bool stave_start_worker(void (*function)(void)) {
  int error = errno;
  pthread_t thread;
  // Its own faults are told like any thread's; and 32 to 34 are libc's, which waits for all threads in setuid.
  const int taken[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT, 32, 33, 34};
  uint64_t blocked = ~(uint64_t)0, before = 0;
  for (unsigned index = 0; index < sizeof taken / sizeof *taken; index++) blocked &= ~((uint64_t)1 << (taken[index] - 1));
  stave_syscall6(SYS_rt_sigprocmask, 2 /* SETMASK */, (long)&blocked, (long)&before, 8, 0, 0);
  _Bool is_made = pthread_create(&thread, NULL, work, (void *)function) == 0;
  stave_syscall6(SYS_rt_sigprocmask, 2, (long)&before, 0, 8, 0, 0);
  if (is_made) pthread_detach(thread);
  errno = error;
  return is_made;
}
