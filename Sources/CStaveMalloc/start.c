// SPDX-License-Identifier: BSD-2-Clause
//
// Start, fork and end of a process: what only libc's tables of constructors and handlers can call.

#define _GNU_SOURCE
#include "CPlatform.h"
#include "stave_entry.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>

// glibc's fork takes the lock of the list of streams after the handlers have run, and a thread that holds it may want a
// lock of ours: so that lock is taken first, as glibc does for its own malloc. It is recursive.
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

static void prepare_fork(void) {
  if (_IO_list_lock) _IO_list_lock();
  stave_prepare_fork();
}
static void parent_after_fork(void) {
  stave_parent_after_fork();
  if (_IO_list_unlock) _IO_list_unlock();
}
static void child_after_fork(void) {
  stave_child_after_fork();
  if (_IO_list_resetlock) _IO_list_resetlock();
}

// Whether malloc is this one: the program, or a library before this one, may define it too. Its address may also be that of a
// stub in a program that takes it, so then a block is asked for.
static _Bool is_the_malloc(void) {
  if (stave_is(malloc, stave_libc_malloc)) return 1;
  void *probe = malloc(1);
  _Bool ours = stave_owns(probe);
  free(probe);
  return ours;
}

// Before all other constructors: by the flag INITFIRST of libstave.so, and by program.c where libstave.a is part of the program. For
// our handlers must be the first to be registered, so the last to prepare and the first to be done: another handler may wait
// for a thread that waits for us.
__attribute__((constructor(101))) void stave_start(int count, char **arguments, char **environment) {
  static int started;
  if (started) return;
  started = 1;
  stave_find_own_code();
  if (count > 0 && arguments[0]) stave_keep_program_name(arguments[0]);
  if (!is_the_malloc()) {
    stave_step_aside(free);
    return;
  }
  stave_configure(getauxval(AT_SECURE) ? NULL : environment);
  pthread_atfork(prepare_fork, parent_after_fork, child_after_fork);
}

__attribute__((destructor(101))) static void finish(void) { stave_at_exit(); }
