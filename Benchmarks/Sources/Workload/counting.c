// SPDX-License-Identifier: BSD-2-Clause
//
// count-WAY N: what does it cost to count who holds memory? N threads share a fixed number of pairs, each a block of 64 bytes
// that is allocated, counted, counted again and freed. The ways: `types`, a malloc type of Stave's, counted by the store that
// commits to this CPU's cell; `atomic`, malloc and free with an atomic add for each; `mutex`, with an addition under one mutex for
// each, as the kernels counted before their statistics were per CPU; `none`, malloc and free alone. Only for Stave, whose types
// they are.

#include "workload.h"
#include "../../../Sources/CPlatform/include/stave_type.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

enum { mostThreads = 64, blockBytes = 64, noWait = 1 };

static struct stave_type counted = {.magic = STAVE_TYPE_MAGIC, .version = 1, .name = "counted", .description = "blocks of count-types"};
static void *(*typedMalloc)(size_t, struct stave_type *, int);
static void (*typedFree)(void *, struct stave_type *);

// One type's counters, in a cache line of their own.
static _Alignas(128) struct { uint64_t requests, frees; pthread_mutex_t lock; } locked = {.lock = PTHREAD_MUTEX_INITIALIZER};
static _Alignas(128) struct { _Atomic uint64_t requests, frees; } shared;

static void *none(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    void *block = malloc(blockBytes);
    keep(block);
    free(block);
  }
  return NULL;
}

static void *types(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    void *block = typedMalloc(blockBytes, &counted, noWait);
    keep(block);
    typedFree(block, &counted);
  }
  return NULL;
}

static void *atomics(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    void *block = malloc(blockBytes);
    atomic_fetch_add_explicit(&shared.requests, 1, memory_order_relaxed);
    keep(block);
    atomic_fetch_add_explicit(&shared.frees, 1, memory_order_relaxed);
    free(block);
  }
  return NULL;
}

static void add(uint64_t *counter) {
  pthread_mutex_lock(&locked.lock);
  *counter += 1;
  pthread_mutex_unlock(&locked.lock);
}

static void *mutex(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    void *block = malloc(blockBytes);
    add(&locked.requests);
    keep(block);
    add(&locked.frees);
    free(block);
  }
  return NULL;
}

static struct { void *(*way)(uint64_t); uint64_t count; pthread_barrier_t start; } work;

static void *body(void *unused) {
  (void)unused;
  work.way(1000);  // caches filled, pages touched
  pthread_barrier_wait(&work.start);
  return work.way(work.count);
}

static void measure(Run *run, void *(*way)(uint64_t), uint64_t total) {
  uint64_t threads = run->argument < mostThreads ? run->argument : mostThreads, handles[mostThreads];
  if (threads == 0) die("no threads");
  work.way = way;
  work.count = scaled(run, total) / threads + 1;
  pthread_barrier_init(&work.start, NULL, (unsigned)threads + 1);
  for (uint64_t i = 0; i < threads; i++) startThread(&handles[i], body, NULL, -1);
  pthread_barrier_wait(&work.start);
  begin(run);
  for (uint64_t i = 0; i < threads; i++) joinThread(handles[i]);
  end(run);
  run->ops = work.count * threads;
  run->checksum = run->ops;
}

void countNone(Run *run) { measure(run, none, 120000000); }

void countTypes(Run *run) {
  typedMalloc = (void *(*)(size_t, struct stave_type *, int))dlsym(RTLD_DEFAULT, "stave_malloc");
  typedFree = (void (*)(void *, struct stave_type *))dlsym(RTLD_DEFAULT, "stave_free");
  if (!typedMalloc || !typedFree) die("no malloc types: this is for Stave alone");
  measure(run, types, 120000000);
}

// Fails if the counters do not say what was done: then something else has been measured.
static void agree(Run *run, uint64_t requests, uint64_t frees) {
  uint64_t threads = run->argument < mostThreads ? run->argument : mostThreads, pairs = run->ops + 1000 * threads;
  if (requests != pairs || frees != pairs) die("the counters are wrong");
}

void countAtomic(Run *run) {
  measure(run, atomics, 40000000);
  agree(run, shared.requests, shared.frees);
}

void countMutex(Run *run) {
  measure(run, mutex, 16000000);
  agree(run, locked.requests, locked.frees);
}
