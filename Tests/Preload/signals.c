// SPDX-License-Identifier: BSD-2-Clause
//
// A storm of signals: every thread has a timer of its own that interrupts it thousands of times a second wherever it is in the
// allocator, and another thread sends signals at random besides. The handler does not allocate; it uses enough stack and
// registers to disturb whatever is not saved. Restartable sequences are aborted by each of them.

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "scenario.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { workers = 3, slots = 200 };
static atomic_int stop, running;
static atomic_ulong signals;
static pthread_t threads[workers];

static void interrupt(int number) {
  int saved = errno;
  volatile double waste[16];
  for (int i = 0; i < 16; i++) waste[i] = number * 1.5 + i;
  (void)waste[3];
  errno = EINTR;
  atomic_fetch_add_explicit(&signals, 1, memory_order_relaxed);
  errno = saved;
}

static void *work(void *argument) {
  Random random = randomFrom((uintptr_t)argument);
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR1;
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  timer_t timer;
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create: %s", strerror(errno));
  long period = 61000 + 7000 * (long)(uintptr_t)argument;
  struct itimerspec when = {{0, period}, {0, period}};
  CHECK(timer_settime(timer, 0, &when, NULL) == 0, "timer_settime: %s", strerror(errno));

  void *blocks[slots] = {0};
  size_t sizes[slots] = {0};
  for (unsigned long step = scaled(1000000); step > 0; step--) {
    unsigned slot = (unsigned)below(&random, slots);
    if (blocks[slot]) verify(blocks[slot], sizes[slot], tagOf(blocks[slot], 1), "under signals");
    size_t size = below(&random, 200) ? below(&random, 400) : randomSize(&random, 300000);
    if (blocks[slot] && below(&random, 8) == 0) {
      blocks[slot] = realloc(blocks[slot], ++size);
    } else {
      free(blocks[slot]);
      blocks[slot] = below(&random, 8) ? malloc(size) : calloc(1, size);
    }
    CHECK(blocks[slot], "%zu bytes: %s", size, strerror(errno));
    sizes[slot] = size;
    paint(blocks[slot], size, tagOf(blocks[slot], 1));
  }
  timer_delete(timer);
  for (unsigned i = 0; i < slots; i++) free(blocks[i]);
  atomic_fetch_sub(&running, 1);
  while (!atomic_load(&stop)) usleep(1000);  // stays to be a target for the sender
  return NULL;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR2, &action, NULL);
  atomic_store(&running, workers);
  for (unsigned i = 0; i < workers; i++) threads[i] = startThread(work, (void *)(uintptr_t)(i + 1));
  Random random = randomFrom(99);
  while (atomic_load(&running) > 0) {
    pthread_kill(threads[below(&random, workers)], SIGUSR2);
    usleep((useconds_t)below(&random, 100));
  }
  atomic_store(&stop, 1);
  for (unsigned i = 0; i < workers; i++) joinThread(threads[i]);
  CHECK(atomic_load(&signals) > 100, "only %lu signals came", atomic_load(&signals));
  return 0;
}
