// SPDX-License-Identifier: BSD-2-Clause
//
// Allocates and frees, and tells its tracer (tracer.c) which probes must have fired with which arguments. Its argument says which
// part: calls (with STAVE_OPTIONS=otel_rate:1099511627776, so that there are no samples), filtered (with probes:images as well), zones, samples (with STAVE_OPTIONS=otel_rate:1); steady
// and balanced go on until they are killed, for tracers of others.

#include "probes.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../Sources/StaveC/include/stave.h"
#ifndef LINKED
#pragma weak stave_malloc
#pragma weak stave_realloc
#pragma weak stave_free
#pragma weak stave_type_register
#pragma weak stave_type_unregister
#endif

static struct shared *shared;
STAVE_TYPE_DEFINE(images, "images", "pictures in memory");
STAVE_TYPE_DEFINE_LIMIT(thumbs, "thumbs", "small pictures, 64 KiB of them", 65536);
// The library's numbers; 1 is that of types that have ended.
enum { imagesNumber = 2, thumbsNumber = 3 };

static void ask(const char *request) {
  strcpy(shared->request, request);
  raise(SIGSTOP);
  shared->count = 0;
}

static struct event *expect(const char *probe, const char *text) {
  struct event *event = &shared->expected[shared->count++];
  memset(event, 0, sizeof *event);
  strcpy(event->probe, probe);
  strcpy(event->text, text);
  return event;
}
static void value(struct event *event, int64_t number) { event->values[event->count++] = number; }

static void *heard(const char *type, int id, long size, int class, void *block, long requested) {
  struct event *event = expect("stave:malloc", type);
  value(event, id), value(event, size), value(event, class), value(event, (int64_t)block), value(event, requested);
  return block;
}
static void heardFree(const char *type, int id, long size, void *block) {
  struct event *event = expect("stave:free", type);
  value(event, id), value(event, size), value(event, 0), value(event, (int64_t)block);
}

static void *volatile sink;
static void *sink2;

// A type with an account: all its memory goes by the slow paths. What is refused is not heard of.
static void limited(void) {
  void *small = heard("thumbs", thumbsNumber, 48, 2, stave_malloc(40, thumbs, STAVE_NOWAIT | STAVE_ZERO), 40);
  void *large = heard("thumbs", thumbsNumber, 40960, -1, stave_malloc(40000, thumbs, STAVE_NOWAIT), 40000);
  if (stave_malloc(40000, thumbs, STAVE_NOWAIT) != NULL) exit(1);
  ask("all");
  // It may not grow: freed, and given out as it was.
  if (stave_realloc(large, 80000, thumbs, STAVE_NOWAIT) != NULL) exit(1);
  heardFree("thumbs", thumbsNumber, 40960, large), heard("thumbs", thumbsNumber, 40960, -1, large, 40960);
  ask("all");
  free(large), heardFree("thumbs", thumbsNumber, 40960, large);
  stave_free(small, thumbs), heardFree("thumbs", thumbsNumber, 48, small);
  ask("all");
}

// What an ended type has left is memory without a type.
static void ended(void) {
  static struct stave_type brief[1] = {{.magic = STAVE_TYPE_MAGIC, .version = 1, .name = "brief"}};
  stave_type_register(brief);
  void *small = heard("brief", thumbsNumber + 1, 48, 2, stave_malloc(40, brief, STAVE_NOWAIT), 40);
  void *large = heard("brief", thumbsNumber + 1, 40960, -1, stave_malloc(40000, brief, STAVE_NOWAIT), 40000);
  ask("all");
  stave_type_unregister(brief);
  free(small), heardFree("malloc", 0, 48, small);
  free(large), heardFree("malloc", 0, 40960, large);
  ask("all");
}

static void calls(void) {
  void *first = malloc(100);
  for (int i = 0; i < 100; i++) free(malloc(100));
  ask("all");  // nobody watches: nothing
  ask("+stave:free");
  // The very first free is heard, and from then on everything.
  free(first);
  heardFree("malloc", 0, 112, first);
  void *block = heard("malloc", 0, 112, 6, malloc(100), 100);
  void *zeroed = heard("malloc", 0, 48, 2, calloc(3, 15), 45);
  void *large = heard("malloc", 0, 102400, -1, malloc(100000), 100000);
  void *aligned = NULL;
  if (posix_memalign(&aligned, 65536, 70000) != 0) exit(1);
  heard("malloc", 0, 73728, -1, aligned, 70000);
  void *typed = heard("images", imagesNumber, 40 + 8, 2, stave_malloc(40, images, STAVE_NOWAIT), 40);
  if (posix_memalign(&sink2, 256, 100) != 0) exit(1);
  heard("malloc", 0, 256, anyValue, sink2, 100);
  ask("all");
  limited();
  ended();
  // In place, where nothing is asked for.
  if (realloc(block, 110) != block) exit(1);
  ask("all");
  // A large block that shrinks where it is: freed and given out. One that cannot grow stays, and is copied.
  if (realloc(large, 40000) != large) exit(1);
  heardFree("malloc", 0, 102400, large), heard("malloc", 0, 40960, -1, large, 40000);
  ask("all");
  void *more = realloc(large, 3000000);
  heardFree("malloc", 0, 40960, large), heard("malloc", 0, 40960, -1, large, 40960);
  heard("malloc", 0, 3002368, -1, more, 3000000), heardFree("malloc", 0, 40960, large);
  ask("all");
  // One that moves by copying.
  void *moved = realloc(block, 1000);
  heard("malloc", 0, 1024, 31, moved, 1000);
  heardFree("malloc", 0, 112, block);
  ask("all");
  free(typed), heardFree("images", imagesNumber, 48, typed);
  free(moved), heardFree("malloc", 0, 1024, moved);
  free(zeroed), heardFree("malloc", 0, 48, zeroed);
  free(more), heardFree("malloc", 0, 3002368, more);
  free(aligned), heardFree("malloc", 0, 73728, aligned);
  free(NULL);
  ask("all");
  ask("-stave:free");
  for (int i = 0; i < 100; i++) free(malloc(100));
  ask("all");
  // Without any free malloc is heard when its cell is empty.
  ask("+stave:malloc");
  for (int i = 0; i < 2000; i++) sink = malloc(200);
  strcpy(shared->expected[0].probe, "stave:malloc");
  shared->least = 2000 - 1024, shared->most = 2000;
  ask("count");
  ask("-stave:malloc");
}

static void filtered(void) {
  void *first = malloc(100);
  ask("+stave:malloc");
  free(first);
  void *block = heard("images", imagesNumber, 48, 2, stave_malloc(40, images, STAVE_NOWAIT), 40);
  free(malloc(100));
  free(malloc(100000));
  free(block), heardFree("images", imagesNumber, 48, block);
  ask("all");
}

static void samples(void) {
  void *first = malloc(100);
  ask("+otel_memory:alloc");
  free(first);
  heardFree("malloc", 0, 112, first);  // who watches one of the four makes way for all; the block was no sample
  void *block = heard("malloc", 0, 112, 6, malloc(100), 100);
  struct event *event = expect("otel_memory:alloc", "");
  value(event, (int64_t)block), value(event, 112), value(event, 112);
  free(block);
  heardFree("malloc", 0, 112, block);
  event = expect("otel_memory:free", "");
  value(event, (int64_t)block);
  ask("all");
  // What was sampled while somebody watched, and freed while nobody did, is not heard of again.
  block = heard("malloc", 0, 112, 6, malloc(100), 100);
  event = expect("otel_memory:alloc", "");
  value(event, (int64_t)block), value(event, 112), value(event, 112);
  ask("all");
  ask("-otel_memory:alloc");
  free(block);
  for (int i = 0; i < 10; i++) free(malloc(100));
  if (malloc(100) != block) exit(1);
  ask("+otel_memory:alloc");
  free(block);
  heardFree("malloc", 0, 112, block);
  ask("all");
}

static void unlimit(int signal) {
  struct rlimit limit;
  (void)signal;
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_AS, &limit);
}

static void zones(void) {
  static void *held[20000];
  unsigned count = 0;
  sink = malloc(9000);
  ask("+stave:zone_grow");
  ask("+stave:zone_release");
  ask("+stave:zone_fail");
  ask("+stave:zone_reclaim");
  ask("+stave:zone_sleep");
  for (; count < 1000; count++) held[count] = malloc(9000);
  struct event *event = expect("stave:zone_grow", "malloc-9216");
  value(event, 9216), value(event, 65536), value(event, 20);
  ask("some");
  while (count > 0) free(held[--count]);
  malloc_trim(0);
  event = expect("stave:zone_release", "malloc-9216");
  value(event, 9216), value(event, 65536), value(event, anyValue);
  event = expect("stave:zone_reclaim", "malloc-9216");
  value(event, 9216), value(event, 1), value(event, anyValue);
  ask("some");
  // No memory.
  struct rlimit limit;
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = 1 << 20;
  setrlimit(RLIMIT_AS, &limit);
  while (count < 20000 && (held[count] = malloc(30000)) != NULL) count++;
  event = expect("stave:zone_fail", "malloc-30720");
  value(event, 30720), value(event, anyValue);
  ask("some");
  signal(SIGALRM, unlimit);
  struct itimerval soon = {.it_value = {.tv_sec = 2}};
  setitimer(ITIMER_REAL, &soon, NULL);
  sink = stave_malloc(30000, images, STAVE_WAITOK);
  event = expect("stave:zone_sleep", "images-30720");
  value(event, 30720), value(event, 1);
  ask("some");
  // At a type's limit: refused at once, and when patience is over.
  while (stave_malloc(30000, thumbs, STAVE_NOWAIT) != NULL) {}
  if (stave_malloc(30000, thumbs, STAVE_WAITOK | STAVE_CANFAIL) != NULL) exit(1);
  event = expect("stave:zone_sleep", "thumbs-30720");
  value(event, 30720), value(event, 1);
  event = expect("stave:zone_fail", "thumbs-30720");
  value(event, 30720), value(event, 2);
  ask("some");
}

// Some of it leaks.
__attribute__((noreturn)) static void steady(void) {
  for (unsigned round = 0;; round++) {
    void *blocks[64];
    for (int i = 0; i < 64; i++) blocks[i] = i % 2 ? stave_malloc(40, images, STAVE_NOWAIT) : malloc(100 + 4000u * (unsigned)i);
    for (int i = round % 10 == 0; i < 64; i++) free(blocks[i]);
    if (round % 10 == 0) sink = malloc(20000), usleep(1000);
  }
}

// Nothing leaks.
__attribute__((noreturn, noinline)) static void balanced(void) {
  for (;; usleep(100)) {
    void *blocks[16];
    for (int i = 0; i < 16; i++) blocks[i] = malloc(5000);
    for (int i = 0; i < 16; i++) free(blocks[i]);
  }
}

int main(int count, char **words) {
  if (count > 1 && strcmp(words[1], "steady") == 0) steady();
  if (count > 1 && strcmp(words[1], "balanced") == 0) balanced();
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, sharedDescriptor, 0);
  if (count < 2 || shared == MAP_FAILED || &stave_malloc == NULL) return 2;
  if (strcmp(words[1], "calls") == 0) calls();
  else if (strcmp(words[1], "filtered") == 0) filtered();
  else if (strcmp(words[1], "samples") == 0) samples();
  else zones();
  return 0;
}
