// SPDX-License-Identifier: BSD-2-Clause
//
// fork while other threads are busy in zones, pools and packet buffers: the child has all that it had, and goes on with it.

#include <pthread.h>
#include <stave.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static struct stave_zone *zone;
static struct stave_pool *pool;
static int over;

static void use(void) {
  void *item = stave_zone_alloc(zone, STAVE_WAITOK), *other = stave_pool_get(pool, STAVE_WAITOK);
  struct stave_mbuf *packet = stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_PKTHDR);
  CHECK(item != NULL && other != NULL && packet != NULL && stave_m_append(packet, 3, "abc"));
  memset(item, 1, 80), memset(other, 2, 80);
  stave_m_freem(packet), stave_pool_put(pool, other), stave_zone_free(zone, item);
}

static void *work(void *unused) {
  (void)unused;
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) use();
  return NULL;
}

int main(void) {
  zone = stave_zone_create("forked", 80, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  pool = stave_pool_create("forked pool", 80, STAVE_ALIGN_PTR, 0, 0, NULL);
  char *kept = stave_zone_alloc(zone, STAVE_WAITOK | STAVE_ZERO);
  strcpy(kept, "kept");
  use();
  pthread_t threads[3];
  for (int index = 0; index < 3; index++) CHECK(pthread_create(&threads[index], NULL, work, NULL) == 0);
  for (int round = 0; round < 100; round++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(20);
      for (int index = 0; index < 100; index++) use();
      CHECK(strcmp(kept, "kept") == 0);
      stave_zone_free(zone, kept);
      stave_zone_reclaim(NULL, STAVE_RECLAIM_DRAIN_CPU);
      use();
      _Exit(7);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
  for (int index = 0; index < 3; index++) pthread_join(threads[index], NULL);
  stave_zone_free(zone, kept);
  CHECK(stave_zone_destroy(zone) == 0 && stave_pool_destroy(pool) == 0);
  puts("fine");
  return 0;
}
