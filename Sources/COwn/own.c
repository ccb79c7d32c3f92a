// SPDX-License-Identifier: BSD-2-Clause
//
// The start of a core that a program has linked in for zones of its own, whose malloc may be another: once, at the first use; and what
// libc is to call at fork and at the end. libstave's own start is CStaveMalloc/start.c, which must come before everything.

#define _GNU_SOURCE
#include "COwn.h"
#include "CPlatform.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stave_own_steps own;

// glibc's fork takes the lock of the list of streams after the handlers have run, and a thread that holds it may want a lock of ours.
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

static void prepare_fork(void) {
  pthread_mutex_lock(&lock);
  if (_IO_list_lock) _IO_list_lock();
  own.prepare_fork();
}
static void parent_after_fork(void) {
  own.parent_after_fork();
  if (_IO_list_unlock) _IO_list_unlock();
  pthread_mutex_unlock(&lock);
}
static void child_after_fork(void) {
  own.child_after_fork();
  if (_IO_list_resetlock) _IO_list_resetlock();
  lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

void stave_begin_own(struct stave_own_steps steps) {
  pthread_mutex_lock(&lock);
  if (own.begin == NULL) {
    own = steps;
    stave_keep_program_name(program_invocation_name);
    // First, so that a fork meanwhile waits for the lock.
    pthread_atfork(prepare_fork, parent_after_fork, child_after_fork);
    own.begin(getauxval(AT_SECURE) ? NULL : (const char *const *)environ);
    atexit(own.finish);
  }
  pthread_mutex_unlock(&lock);
}
