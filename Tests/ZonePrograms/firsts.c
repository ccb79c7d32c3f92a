// SPDX-License-Identifier: BSD-2-Clause
//
// fork while another thread makes the first call of all, or the first that wants an mbuf: the child makes its own, and so does the
// parent. Rounds are processes of their own, and forks are spread over the time that the first call takes.

#include <pthread.h>
#include <stave.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int wants_mbufs, go;

static void make(void) {
  if (wants_mbufs) {
    struct stave_mbuf *mbuf = stave_m_get(STAVE_NOWAIT, STAVE_MT_DATA);
    CHECK(mbuf != NULL);
    stave_m_freem(mbuf);
  } else {
    struct stave_zone *zone = stave_zone_create("first", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
    CHECK(zone != NULL && stave_zone_destroy(zone) == 0);
  }
}

static long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void *first(void *taken) {
  while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE)) {}
  long start = now();
  make();
  if (taken) *(long *)taken = now() - start;
  return NULL;
}

// How long the first call takes, and in a child of `delay` after its beginning.
static int round_of(long delay) {
  if (wants_mbufs) CHECK(stave_zone_create("before", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0) != NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, first, NULL) == 0);
  usleep(100);
  long start = now();
  __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
  while (now() - start < delay) {}
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(5);
    make();
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  alarm(5);
  pthread_join(thread, NULL);
  make();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}

int main(int count, char **arguments) {
  CHECK(count == 3);
  wants_mbufs = arguments[1][0] == 'm';
  int rounds = atoi(arguments[2]), failures = 0;
  int ends[2];
  CHECK(pipe(ends) == 0);
  if (fork() == 0) {
    long taken = 0;
    go = 1;
    if (wants_mbufs) stave_zone_destroy(stave_zone_create("before", 64, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0));
    first(&taken);
    _exit(write(ends[1], &taken, sizeof taken) == sizeof taken ? 0 : 1);
  }
  long range;
  CHECK(read(ends[0], &range, sizeof range) == sizeof range && wait(NULL) > 0);
  for (int round = 0; round < rounds; round++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) _exit(round_of(range * 5 / 4 * round / rounds));
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) failures++;
  }
  if (failures > 0) return printf("%d of %d forks failed\n", failures, rounds), 1;
  puts("fine");
  return 0;
}
