// SPDX-License-Identifier: BSD-2-Clause
//
// Frames of many kinds, through which `probe` is called. It captures where from, asks the C library's backtrace for the same,
// and gives both to the test.

#define _GNU_SOURCE
#include "callers.h"
#include "stave_capture.h"
#include <alloca.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void (*seen)(uintptr_t pc, uintptr_t sp, uintptr_t bp, void **trace, int count);
void set_seen(void (*function)(uintptr_t, uintptr_t, uintptr_t, void **, int)) { seen = function; }

__attribute__((used, visibility("hidden"), noinline)) size_t probe_from_1(size_t a, uintptr_t pc, uintptr_t sp, uintptr_t bp) {
  void *trace[512];
  int count = backtrace(trace, 512);
  seen(pc, sp, bp, trace + 1, count - 1);
  return a + 1;
}
__attribute__((used, visibility("hidden"), noinline)) size_t probe_from_2(size_t a, size_t b, uintptr_t pc, uintptr_t sp, uintptr_t bp) {
  return a == 1 && b == 2 ? probe_from_1(0, pc, sp, bp) : 0;
}
__attribute__((used, visibility("hidden"), noinline)) size_t probe_from_3(size_t a, size_t b, size_t c, uintptr_t pc, uintptr_t sp, uintptr_t bp) {
  return a == 1 && b == 2 && c == 3 ? probe_from_1(0, pc, sp, bp) : 0;
}
STAVE_CAPTURING size_t probe(size_t a) { stave_capture_1(probe_from_1, a) }
STAVE_CAPTURING size_t probe_2(size_t a, size_t b) { stave_capture_2(probe_from_2, a, b) }
STAVE_CAPTURING size_t probe_3(size_t a, size_t b, size_t c) { stave_capture_3(probe_from_3, a, b, c) }
// Reaches probe by a jump, as malloc reaches its slow path.
__attribute__((naked)) static size_t jumping(size_t a) { __asm__("jmp probe@PLT"); }

#define FRAME __attribute__((noinline))
// Keeps a call from becoming a jump, and what it is given from being known.
#define KEEP(value) __asm__ volatile("" : "+r"(value) : : "memory")

FRAME static size_t leaf(size_t n) { size_t r = probe(n); KEEP(r); return r; }
FRAME static size_t wide(size_t n) { char text[5000]; char *p = text; KEEP(p); text[n] = 1; size_t r = leaf(n); KEEP(p); return r + (size_t)text[n]; }
FRAME static size_t varying(size_t n) { char *p = alloca(n * 24 + 8); KEEP(p); p[0] = 1; size_t r = wide(n); KEEP(p); return r; }
FRAME static size_t aligned(size_t n) { char text[64] __attribute__((aligned(64))); char *p = text; KEEP(p); size_t r = varying(n); KEEP(p); return r; }
FRAME static size_t busy(size_t n, size_t a, size_t b, size_t c, size_t d, size_t e, size_t f, size_t g) {
  size_t r = aligned(n);
  KEEP(r);
  size_t s = (a * b ^ c) + (d * e ^ f) * g;
  s += n & 4 ? leaf(n) : 0;
  return r * a + s * b + c * d + e * f + g;
}
// rbp holds something else here: the frames above must get theirs back.
FRAME static size_t clobbers(size_t n) {
#ifndef FRAME_POINTERS
  size_t r;
  __asm__ volatile("" : : : "rbx", "rbp", "r12", "r13", "r14", "r15");
  r = busy(n, 1, 2, 3, 4, 5, 6, 7);
  __asm__ volatile("" : "+r"(r) : : "rbx", "rbp", "r12", "r13", "r14", "r15");
  return r;
#else
  size_t r = busy(n, 1, 2, 3, 4, 5, 6, 7);
  KEEP(r);
  return r;
#endif
}
FRAME static size_t deep(size_t n, size_t depth) { size_t r = depth ? deep(n, depth - 1) : clobbers(n); KEEP(r); return r + depth; }

size_t call_plain(void) { size_t r = leaf(1); KEEP(r); return r == 2; }
size_t call_mixed(void) { size_t r = deep(1, 20); KEEP(r); return r > 0; }
size_t call_jumping(void) { size_t r = jumping(1); KEEP(r); return r == 2; }
size_t call_two(void) { size_t r = probe_2(1, 2); KEEP(r); return r; }
size_t call_three(void) { size_t r = probe_3(1, 2, 3); KEEP(r); return r; }

// The call is the last instruction: the address that it would return to belongs to what follows.
static __thread jmp_buf back;
__attribute__((noreturn)) FRAME static void leave(void) { leaf(1); longjmp(back, 1); }
__attribute__((noreturn)) FRAME static void last(void) { leave(); }
size_t call_last(void) { if (setjmp(back) == 0) last(); return 1; }

static int compare(const void *a, const void *b) { return (leaf(1) == 2) - 1 + (*(const int *)a - *(const int *)b); }
size_t call_qsort(void) { int numbers[] = { 2, 1 }; qsort(numbers, 2, sizeof *numbers, compare); return numbers[0] == 1; }
size_t call_bsearch(void) { int numbers[] = { 1 }, one = 1; size_t r = bsearch(&one, numbers, 1, sizeof one, compare) != NULL; KEEP(r); return r; }

static ssize_t write_cookie(void *cookie, const char *bytes, size_t count) { (void)cookie; (void)bytes; leaf(1); return (ssize_t)count; }
size_t call_stream(void) {
  FILE *file = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = write_cookie });
  fprintf(file, "%d", 1);
  int r = fflush(file);
  fclose(file);
  return r == 0;
}

// The frame that the kernel makes has no rule.
static void handle(int number) { (void)number; leaf(1); }
size_t call_signal(void) {
  struct sigaction action = { .sa_handler = handle }, before;
  sigset_t wanted, blocked;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGUSR1);
  sigaction(SIGUSR1, &action, &before);
  pthread_sigmask(SIG_UNBLOCK, &wanted, &blocked);
  int r = pthread_kill(pthread_self(), SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &blocked, NULL);
  sigaction(SIGUSR1, &before, NULL);
  return r == 0;
}

size_t call_back(void (*function)(void)) { function(); return 1; }
size_t call_sorting(int (*order)(const void *, const void *)) { int numbers[] = { 2, 1 }; qsort(numbers, 2, sizeof *numbers, order); return 1; }
