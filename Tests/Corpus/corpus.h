// SPDX-License-Identifier: BSD-2-Clause
//
// What the faulty programs share: which mistake, with which size, at which distance, in which thread; or its twin, the same code without
// the mistake. Each says on its standard output when the mistake comes, when it has been made, and that it has come to its end, so that
// whoever watches knows when something was noticed:
//
//     program CLASS wrong|twin [--size N] [--distance N] [--thread main|other|handed] [--how HOW]
//
// Exit status: 0; 77 where this system cannot make the mistake. To be compiled with -D_GNU_SOURCE -fno-builtin, so that no compiler
// sees through it.

#ifndef CORPUS_H
#define CORPUS_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SHARED __attribute__((unused)) static

static struct {
  int wrong;
  size_t size;
  /// From the block's edge to the farthest byte that is touched, 1 for the next one; where it is about addresses, from the block's start.
  size_t distance;
  /// "main": everything is done there; "other": in another thread; "handed": what is allocated by main is freed by another.
  const char *thread, *how;
} plan = {0, 24, 1, "main", ""};

SHARED int isHow(const char *name) { return !strcmp(plan.how, name); }

/// Hides where a pointer comes from.
SHARED void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer)::"memory");
  return pointer;
}

SHARED void say(const char *text) {
  if (write(1, text, strlen(text)) < 0) _exit(2);
}

/// The mistake comes now; it is about this block.
SHARED void mistake(void *block) {
  char line[80];
  snprintf(line, sizeof line, "mistake %#lx\n", (unsigned long)(uintptr_t)block);
  say(line);
}

SHARED void made(void) { say("made\n"); }

__attribute__((noreturn)) SHARED void impossible(const char *why) {
  say("IMPOSSIBLE: ");
  say(why);
  say("\n");
  _exit(77);
}

enum { neighbours = 20 };
static char *around[2][neighbours];

/// Blocks of its size before and behind, so that what goes astray lands on the heap of the program.
SHARED void neighbour(int side) {
  for (int i = 0; i < neighbours; i++) {
    around[side][i] = (char *)hide(malloc(plan.size));
    if (!around[side][i]) abort();
    memset(around[side][i], 0x11, plan.size);
  }
}

static char *taken;

/// The block that everything is about, between its neighbours.
SHARED char *take(void) {
  neighbour(0);
  taken = (char *)hide(malloc(plan.size));
  if (!taken) abort();
  memset(taken, 0x22, plan.size);
  neighbour(1);
  return taken;
}

SHARED void give(void) { free(hide(taken)); }

SHARED void leave(void) {
  for (int side = 0; side < 2; side++)
    for (int i = 0; i < neighbours; i++) free(around[side][i]);
}

/// Others of this size come and go.
SHARED void pass(void) {
  enum { count = 1500 };
  char **others = (char **)malloc(count * sizeof *others);
  unsigned number = plan.size > 32768 ? 8 : plan.size > 1000 ? 200 : count;
  for (unsigned i = 0; i < number; i++) others[i] = (char *)hide(malloc(plan.size));
  for (unsigned i = 0; i < number; i++) free(others[i]);
  free(others);
}

SHARED void *stepOf(void *step) {
  ((void (*)(void))(uintptr_t)step)();
  return NULL;
}

SHARED void inThread(void (*step)(void)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, stepOf, (void *)(uintptr_t)step)) abort();
  pthread_join(thread, NULL);
}

/// A step that another thread does if the block is handed on.
SHARED void handed(void (*step)(void)) {
  if (!strcmp(plan.thread, "handed")) inThread(step);
  else step();
}

struct mistake {
  const char *name;
  void (*make)(void);
};

SHARED int perform(int count, char **words, const struct mistake *mistakes, size_t number) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  alarm(100);
  if (count < 3) return 2;
  plan.wrong = !strcmp(words[2], "wrong");
  for (int i = 3; i + 1 < count; i += 2) {
    if (!strcmp(words[i], "--size")) plan.size = strtoul(words[i + 1], NULL, 10);
    else if (!strcmp(words[i], "--distance")) plan.distance = strtoul(words[i + 1], NULL, 10);
    else if (!strcmp(words[i], "--thread")) plan.thread = words[i + 1];
    else if (!strcmp(words[i], "--how")) plan.how = words[i + 1];
    else return 2;
  }
  for (size_t i = 0; i < number; i++) {
    if (strcmp(mistakes[i].name, words[1])) continue;
    if (!strcmp(plan.thread, "other")) inThread(mistakes[i].make);
    else mistakes[i].make();
    say("end\n");
    return 0;
  }
  return 2;
}

#endif
