// SPDX-License-Identifier: BSD-2-Clause
//
// fork from any thread at any moment, while the others allocate as hard as they can. The child allocates at once, all sizes,
// checks and frees what it inherited, starts a thread or forks again, and ends. A child that finds a lock held by a thread
// that it does not have hangs, and its alarm says so. A process that has handlers of its own around fork, registered before
// any library could register one, may allocate in them too.

#include <stdatomic.h>

#include "scenario.h"

enum { slots = 300, workers = 3, forkers = 2 };

typedef struct {
  void *block;
  size_t size;
} Slot;

static Slot table[slots];
static pthread_mutex_t tableLock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int stop;
static atomic_ulong steps;

static Slot make(Random *random) {
  Slot slot;
  slot.size = randomSize(random, below(random, 50) ? 30000 : 2000000);
  slot.block = below(random, 4) ? malloc(slot.size) : aligned_alloc((size_t)16 << below(random, 9), slot.size);
  CHECK(slot.block, "%zu bytes: %s", slot.size, strerror(errno));
  paint(slot.block, slot.size, tagOf(slot.block, 1));
  return slot;
}

static void discard(Slot *slot, const char *when) {
  if (!slot->block) return;
  verify(slot->block, slot->size, tagOf(slot->block, 1), when);
  free(slot->block);
  slot->block = NULL;
}

static void *work(void *argument) {
  Random random = randomFrom((uintptr_t)argument);
  Slot mine[60] = {{0}};
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    Slot *slot = &mine[below(&random, 60)];
    discard(slot, "in a thread");
    *slot = make(&random);
    if (below(&random, 8) == 0) {
      pthread_mutex_lock(&tableLock);
      Slot *shared = &table[below(&random, slots)], kept = *shared;
      *shared = *slot;
      *slot = kept;
      pthread_mutex_unlock(&tableLock);
    }
    if (below(&random, 20000) == 0) malloc_trim(0);
    atomic_fetch_add_explicit(&steps, 1, memory_order_relaxed);
  }
  for (unsigned i = 0; i < 60; i++) discard(&mine[i], "at the end of a thread");
  return NULL;
}

static void *inChild(void *argument) {
  for (unsigned i = 0; i < 1500; i += 7) free(hide(malloc(probeSize(i))));
  return argument;
}

/// What a child does. `whole` says that the table was not being changed at the moment of the fork.
static void liveOnce(uint64_t stream, int whole) {
  Random random = randomFrom(1000 + stream);
  void *blocks[200];
  for (unsigned i = 0; i < 200; i++) {
    size_t size = probeSize(i * 6 + (unsigned)below(&random, 6));
    blocks[i] = malloc(size);
    CHECK(blocks[i], "the child's %zu bytes: %s", size, strerror(errno));
    memset(blocks[i], 0x77, size);
  }
  if (whole)
    for (unsigned i = 0; i < slots; i++)
      if (below(&random, 2)) discard(&table[i], "inherited by a child");
  for (unsigned i = 0; i < 200; i++) free(blocks[i]);
  if (stream % 16 == 3) joinThread(startThread(inChild, NULL));
  if (stream % 32 == 7) malloc_trim(0);
}

/// The child, and now and then its child and grandchild.
static void childLife(uint64_t stream, int whole) {
  for (int depth = 0;; depth++) {
    alarm(60);
    liveOnce(stream + (unsigned)depth, whole);
    if (depth == 3 || stream % 8 != 5) _exit(0);
    pid_t child = fork();
    CHECK(child >= 0, "fork in a child: %s", strerror(errno));
    if (child > 0) {
      expectSuccess(child, "a child of a child");
      _exit(0);
    }
  }
}

static void *forkAway(void *argument) {
  Random random = randomFrom(500 + (uintptr_t)argument);
  unsigned long rounds = scaled(strcmp(role, "handlers") ? 600 : 250);
  for (unsigned long round = 0; round < rounds; round++) {
    int whole = below(&random, 4) == 0;
    if (whole) pthread_mutex_lock(&tableLock);
    pid_t child = fork();
    if (child == 0) childLife(round, whole);
    if (whole) pthread_mutex_unlock(&tableLock);
    CHECK(child > 0, "fork: %s", strerror(errno));
    Slot slot = make(&random);  // the parent, too, goes on at once
    expectSuccess(child, "a child");
    discard(&slot, "after a fork");
  }
  return NULL;
}

// MARK: Handlers around fork

/// Two threads may fork, and be in these handlers, at the same time.
static _Atomic(void *) handled[3];
static void handle(unsigned which) {
  void *block = malloc(100 + 3000 * which);
  CHECK(block, "a fork handler: %s", strerror(errno));
  memset(block, 1, 100 + 3000 * which);
  free(atomic_exchange(&handled[which], block));
}
static void before(void) { handle(0); }
static void inParent(void) { handle(1); }
static void inTheChild(void) { handle(2); }

/// Runs before the constructors of all libraries: these handlers stand inside everybody else's.
static void registerFirst(int count, char **arguments, char **environment) {
  (void)environment;
  for (int i = 1; i < count; i++)
    if (!strcmp(arguments[i], "handlers")) pthread_atfork(before, inParent, inTheChild);
}
__attribute__((section(".preinit_array"), used)) static void (*const firstEntry)(int, char **, char **) = registerFirst;

int main(int count, char **arguments) {
  begin(count, arguments);
  if (!strcmp(role, "handlers")) {
    alarm(60 + (unsigned)scaled(60));
    pthread_atfork(before, inParent, inTheChild);
  }
  pthread_t threads[workers], forking[forkers];
  for (unsigned i = 0; i < workers; i++) threads[i] = startThread(work, (void *)(uintptr_t)(i + 1));
  for (unsigned i = 1; i < forkers; i++) forking[i] = startThread(forkAway, (void *)(uintptr_t)i);
  forkAway(NULL);
  for (unsigned i = 1; i < forkers; i++) joinThread(forking[i]);
  atomic_store(&stop, 1);
  for (unsigned i = 0; i < workers; i++) joinThread(threads[i]);
  for (unsigned i = 0; i < slots; i++) discard(&table[i], "at the end");
  CHECK(atomic_load(&steps) > 100, "the threads made only %lu steps", atomic_load(&steps));
  return 0;
}
