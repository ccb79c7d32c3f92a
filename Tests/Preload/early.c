// SPDX-License-Identifier: BSD-2-Clause
//
// Fork, while a library that registered its handlers in its constructor guards its calls of malloc with a lock: the library's handler
// waits for a thread that is inside malloc, so malloc's own handler must come after, and thus be registered before.
// Compiled twice: with -DLIBRARY it is that library.

#include "scenario.h"

void hold(void (*work)(void));

#ifdef LIBRARY

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void take(void) { pthread_mutex_lock(&lock); }
static void give(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void construct(void) { pthread_atfork(take, give, give); }

/// Sleeps without the lock, so that who waits for it gets it: pthread locks are not handed over, and a thread that comes back at
/// once would keep a fork out for as long as it likes.
void hold(void (*work)(void)) {
  take();
  work();
  give();
  usleep(100);
}

#else

/// More than the caches hold, so that the allocator's locks are taken.
static void work(void) {
  void *blocks[300];
  for (unsigned i = 0; i < 300; i++) blocks[i] = malloc(i % 2 ? 30000 : 100000);
  for (unsigned i = 0; i < 300; i++) free(blocks[i]);
}

static void *workForEver(void *unused) {
  for (;;) hold(work);
  return unused;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  alarm((unsigned)(60 + scaled(60)));
  for (unsigned i = 0; i < 2; i++) startThread(workForEver, NULL);
  for (unsigned long round = 0; round < scaled(300); round++) {
    pid_t child = fork();
    CHECK(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
      alarm(20);
      work();
      _exit(0);
    }
    expectSuccess(child, "a child that allocates");
  }
  return 0;
}

#endif
