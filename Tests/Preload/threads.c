// SPDX-License-Identifier: BSD-2-Clause
//
// Many threads: 2,000 alive at once on the smallest stacks there are, each using every function; thousands one after another;
// and threads that end while their blocks live on, to be freed by others.

#include <stdatomic.h>

#include "scenario.h"

enum { crowd = 2000, perThread = 24 };

typedef struct {
  void *blocks[perThread];
  size_t sizes[perThread];
} Bundle;

static Bundle bundles[crowd];
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static int open_;
static atomic_uint arrived;

static void fillBundle(Bundle *bundle, Random *random) {
  for (unsigned i = 0; i < perThread; i++) {
    size_t size = randomSize(random, 40000);
    void *block = NULL;
    switch (i % 6) {
    case 0: block = calloc(1, size); break;
    case 1: block = aligned_alloc((size_t)16 << i % 5, size); break;
    case 2: size++, block = realloc(malloc(size / 3), size); break;
    case 3: block = posix_memalign(&block, 64, size) ? NULL : block; break;
    default: block = malloc(size); break;
    }
    CHECK(block, "%zu bytes: %s", size, strerror(errno));
    bundle->blocks[i] = block;
    bundle->sizes[i] = size;
    paint(block, size, tagOf(block, 1));
  }
}

static void freeBundle(Bundle *bundle) {
  for (unsigned i = 0; i < perThread; i++) {
    if (!bundle->blocks[i]) continue;
    verify(bundle->blocks[i], bundle->sizes[i], tagOf(bundle->blocks[i], 1), "of a thread that may be gone");
    free(bundle->blocks[i]);
    bundle->blocks[i] = NULL;
  }
}

static void *tiny(void *argument) {
  unsigned number = (unsigned)(uintptr_t)argument;
  Random random = randomFrom(number);
  fillBundle(&bundles[number], &random);
  free(hide(malloc(3000000)));
  atomic_fetch_add(&arrived, 1);
  pthread_mutex_lock(&gate);
  while (!open_) pthread_cond_wait(&opened, &gate);
  pthread_mutex_unlock(&gate);
  freeBundle(&bundles[(number * 7u + 1) % crowd]);  // prime to 2,000: each bundle is freed by one thread, mostly not its own
  fillBundle(&bundles[(number * 7u + 1) % crowd], &random);
  return NULL;
}

static void crowded(void) {
  static pthread_t threads[crowd];
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0, "no attributes");
  int error = pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN));
  CHECK(error == 0, "pthread_attr_setstacksize: %s", strerror(error));
  unsigned started = 0;
  open_ = 0;
  atomic_store(&arrived, 0);
  for (; started < crowd; started++) {
    error = pthread_create(&threads[started], &attributes, tiny, (void *)(uintptr_t)started);
    if (error == EAGAIN) break;
    CHECK(error == 0, "pthread_create: %s", strerror(error));
  }
  if (started < crowd) printf("SKIPPED: only %u of %u threads could be had at once\n", started, (unsigned)crowd);
  while (atomic_load(&arrived) < started) usleep(1000);
  pthread_mutex_lock(&gate);
  open_ = 1;
  pthread_cond_broadcast(&opened);
  pthread_mutex_unlock(&gate);
  for (unsigned i = 0; i < started; i++) joinThread(threads[i]);
  pthread_attr_destroy(&attributes);
  for (unsigned i = 0; i < crowd; i++) freeBundle(&bundles[i]);
}

static void *brief(void *argument) {
  Random random = randomFrom(10000 + (uintptr_t)argument);
  fillBundle(&bundles[(uintptr_t)argument % crowd], &random);
  return NULL;
}

/// One after another: what a thread leaves behind must serve the next, or memory grows with the number of threads.
static void succession(void) {
  size_t settled = 0;
  unsigned long all = scaled(6000);
  for (unsigned long i = 0; i < all; i++) {
    joinThread(startThread(brief, (void *)(uintptr_t)i));
    if (i % 2) freeBundle(&bundles[(i - 1) % crowd]), freeBundle(&bundles[i % crowd]);
    if (i == all / 4) settled = residentBytes();
  }
  for (unsigned i = 0; i < crowd; i++) freeBundle(&bundles[i]);
  size_t end = residentBytes();
  CHECK(end < settled + settled / 2 + (32 << 20), "resident memory went from %zu to %zu over %lu threads", settled, end, all);
}

static _Atomic(Bundle *) letterBox[8];

/// Passes whole bundles to whoever comes next and ends in the middle of it.
static void *passer(void *argument) {
  Random random = randomFrom(20000 + (uintptr_t)argument);
  for (unsigned i = 0; i < 60; i++) {
    Bundle *bundle = malloc(sizeof *bundle);
    CHECK(bundle, "a bundle: %s", strerror(errno));
    fillBundle(bundle, &random);
    bundle = atomic_exchange(&letterBox[below(&random, 8)], bundle);
    if (bundle) {
      freeBundle(bundle);
      free(bundle);
    }
  }
  return NULL;
}

static void relay(void) {
  enum { atOnce = 6 };
  pthread_t threads[atOnce];
  unsigned long all = scaled(600);
  for (unsigned long i = 0; i < all; i++) {
    if (i >= atOnce) joinThread(threads[i % atOnce]);
    threads[i % atOnce] = startThread(passer, (void *)(uintptr_t)i);
  }
  for (unsigned long i = 0; i < (all < atOnce ? all : atOnce); i++) joinThread(threads[i]);
  for (unsigned i = 0; i < 8; i++) {
    Bundle *bundle = atomic_exchange(&letterBox[i], NULL);
    if (bundle) freeBundle(bundle);
    free(bundle);
  }
}

int main(int count, char **arguments) {
  begin(count, arguments);
  for (unsigned long round = scaled(2); round > 0; round--) crowded();
  succession();
  relay();
  return 0;
}
