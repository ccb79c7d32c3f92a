// SPDX-License-Identifier: BSD-2-Clause
//
// lookup-WAY N: what a lookup in a table of 4096 numbers costs, with N / 1000 threads that all read and N % 1000 in a thousand of whose
// turns are updates. The ways: `smr`, no lock for readers, entries of a zone with deferred reuse: an update puts a new entry in the
// old one's place under the writers' lock and frees the old one; `rwlock` and `mutex`, libc's, about each turn: an update changes the
// entry in place.

#include "workload.h"
#include "zones.h"
#include <pthread.h>
#include <stdatomic.h>

enum { entries = 4096, buckets = 4096, mostThreads = 64 };

typedef struct Entry {
  _Atomic(struct Entry *) next;
  uint64_t key;
  uint64_t number;  // always its key times an odd number, and a turn
} Entry;

static _Alignas(128) _Atomic(Entry *) table[buckets];
static _Alignas(128) pthread_mutex_t writers = PTHREAD_MUTEX_INITIALIZER;
static _Alignas(128) pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static _Alignas(128) struct {
  uint64_t (*turn)(uint64_t key, int updates);
  uint64_t count, perMille;
  struct stave_zone *zone;
  struct stave_smr *smr;
  __typeof__(stave_smr_enter) *enter;
  __typeof__(stave_smr_exit) *leave;
  __typeof__(stave_zone_alloc_smr) *alloc;
  __typeof__(stave_zone_free_smr) *free;
  pthread_barrier_t start;
  _Atomic uint64_t wrong;
} work;

static inline _Atomic(Entry *) *bucket(uint64_t key) { return &table[key * 0x9e3779b97f4a7c15u >> 52]; }

static inline Entry *found(uint64_t key) {
  Entry *entry = atomic_load_explicit(bucket(key), memory_order_acquire);
  while (entry && entry->key != key) entry = atomic_load_explicit(&entry->next, memory_order_acquire);
  return entry;
}

static uint64_t bySMR(uint64_t key, int updates) {
  if (!updates) {
    work.enter(work.smr);
    uint64_t number = found(key)->number;
    work.leave(work.smr);
    return number;
  }
  Entry *entry = work.alloc(work.zone, STAVE_NOWAIT);
  if (!entry) die("out of memory");
  pthread_mutex_lock(&writers);
  _Atomic(Entry *) *link = bucket(key);
  Entry *old = atomic_load_explicit(link, memory_order_relaxed);
  while (old->key != key) old = atomic_load_explicit(link = &old->next, memory_order_relaxed);
  entry->key = key;
  entry->number = old->number;
  atomic_init(&entry->next, atomic_load_explicit(&old->next, memory_order_relaxed));
  atomic_store_explicit(link, entry, memory_order_release);
  pthread_mutex_unlock(&writers);
  work.free(work.zone, old);
  return key;  // the entry may be gone by now
}

static uint64_t byRWLock(uint64_t key, int updates) {
  if (updates) pthread_rwlock_wrlock(&lock); else pthread_rwlock_rdlock(&lock);
  Entry *entry = found(key);
  uint64_t number = entry->number;
  if (updates) entry->number = number = entry->key;
  pthread_rwlock_unlock(&lock);
  return number;
}

static uint64_t byMutex(uint64_t key, int updates) {
  pthread_mutex_lock(&writers);
  Entry *entry = found(key);
  uint64_t number = entry->number;
  if (updates) entry->number = number = entry->key;
  pthread_mutex_unlock(&writers);
  return number;
}

static void turns(uint64_t count, uint64_t state) {
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t drawn = draw(&state), key = drawn % entries;
    wrong += work.turn(key, (drawn >> 32) % 1000 < work.perMille) != key;
  }
  if (wrong) atomic_fetch_add(&work.wrong, wrong);
}

static void *body(void *number) {
  turns(1000, (uint64_t)number);
  pthread_barrier_wait(&work.start);
  turns(work.count, (uint64_t)number);
  return NULL;
}

static void measure(Run *run, uint64_t (*turn)(uint64_t, int), Entry *(*make)(void)) {
  uint64_t threads = run->argument / 1000, handles[mostThreads];
  if (threads == 0 || threads > mostThreads) die("no such number of threads");
  for (uint64_t key = 0; key < entries; key++) {
    Entry *entry = make();
    entry->key = entry->number = key;
    atomic_init(&entry->next, atomic_load_explicit(bucket(key), memory_order_relaxed));
    atomic_store(bucket(key), entry);
  }
  work.turn = turn;
  work.perMille = run->argument % 1000;
  work.count = scaled(run, 20000000) / threads + 1;
  pthread_barrier_init(&work.start, NULL, (unsigned)threads + 1);
  for (uint64_t i = 0; i < threads; i++) startThread(&handles[i], body, (void *)(i + 1), (int)i);
  pthread_barrier_wait(&work.start);
  begin(run);
  for (uint64_t i = 0; i < threads; i++) joinThread(handles[i]);
  end(run);
  if (work.wrong) die("a reader saw what it must not");
  run->ops = work.count * threads;
  run->checksum = run->ops;
}

static Entry *ofZone(void) { return work.alloc(work.zone, STAVE_NOWAIT); }
static Entry *ofMalloc(void) { return malloc(sizeof(Entry)); }

void lookupSMR(Run *run) {
  find(stave_zone_create);
  find(stave_zone_get_smr);
  work.enter = foundCall("stave_smr_enter");
  work.leave = foundCall("stave_smr_exit");
  work.alloc = foundCall("stave_zone_alloc_smr");
  work.free = foundCall("stave_zone_free_smr");
  work.zone = stave_zone_create_("entry", sizeof(Entry), NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_SMR);
  if (!work.zone) die("no zone");
  work.smr = stave_zone_get_smr_(work.zone);
  measure(run, bySMR, ofZone);
}

void lookupRWLock(Run *run) { measure(run, byRWLock, ofMalloc); }
void lookupMutex(Run *run) { measure(run, byMutex, ofMalloc); }
