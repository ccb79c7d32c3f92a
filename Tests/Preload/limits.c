// SPDX-License-Identifier: BSD-2-Clause
//
// Limits of malloc types by stave.h: at definition and live, with each way to ask, freed by plain free and by another thread; across
// fork; and types that come and go.

#include "scenario.h"
#include <stave.h>
#include <time.h>

STAVE_TYPE_DEFINE_LIMIT(M_SMALL, "small limit", "at most 64 KiB", 65536);
STAVE_TYPE_DEFINE(M_LATE, "late limit", "without a limit at first");

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void atDefinition(void) {
  void *blocks[64];
  for (int i = 0; i < 64; i++) {
    blocks[i] = stave_malloc(1024, M_SMALL, STAVE_NOWAIT);
    CHECK(blocks[i], "block %d", i);
  }
  errno = 0;
  CHECK(!stave_malloc(1, M_SMALL, STAVE_NOWAIT) && errno == ENOMEM, "beyond the limit: errno %d", errno);
  CHECK(!stave_realloc(blocks[0], 1200, M_SMALL, STAVE_NOWAIT), "a block grew beyond the limit");
  free(blocks[1]);
  CHECK((blocks[1] = stave_malloc(1024, M_SMALL, STAVE_NOWAIT)), "nothing after a plain free");
  CHECK((blocks[2] = realloc(blocks[2], 5000)), "a realloc that names no type");
  void *more = stave_malloc(1000, M_SMALL, STAVE_WAITOK);
  CHECK(more, "what realloc took away made no room");
  double start = now();
  CHECK(!stave_malloc(1000, M_SMALL, STAVE_WAITOK | STAVE_CANFAIL), "a request that may fail got what there is not");
  CHECK(now() - start > 0.9 && now() - start < 10, "it waited for %f s", now() - start);
  free(more);
  for (int i = 0; i < 64; i++) stave_free(blocks[i], M_SMALL);
}

static void *freeLater(void *block) {
  usleep(200000);
  free(block);
  return NULL;
}

static void *raiseLater(void *unused) {
  usleep(200000);
  CHECK(stave_type_set_limit(M_LATE, 1 << 20) == 0, "raising the limit: %s", strerror(errno));
  return unused;
}

static void live(void) {
  char *blocks[100];
  for (int i = 0; i < 100; i++) CHECK((blocks[i] = stave_malloc(2000, M_LATE, STAVE_NOWAIT)), "block %d", i);
  CHECK(stave_type_set_limit(M_LATE, 100 * 2048) == 0, "a limit for a type in use: %s", strerror(errno));
  CHECK(!stave_malloc(16, M_LATE, STAVE_NOWAIT), "what was out before the limit does not count");
  pthread_t thread;
  double start = now();
  CHECK(pthread_create(&thread, NULL, freeLater, blocks[0]) == 0, "a thread");
  CHECK((blocks[0] = stave_malloc(2000, M_LATE, STAVE_WAITOK | STAVE_ZERO)), "who waits was refused");
  CHECK(now() - start > 0.15 && blocks[0][1999] == 0, "it came too soon");
  pthread_join(thread, NULL);
  CHECK(pthread_create(&thread, NULL, raiseLater, NULL) == 0, "a thread");
  void *large = stave_malloc(400000, M_LATE, STAVE_WAITOK);
  CHECK(large, "who waits for a higher limit was refused");
  pthread_join(thread, NULL);
  pid_t child = fork();
  if (child == 0) {
    // The child has the same account.
    free(large);
    void *again = stave_malloc(800000, M_LATE, STAVE_NOWAIT);
    _exit(again && !stave_malloc(100000, M_LATE, STAVE_NOWAIT) ? 0 : 1);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0, "the child's account: status %x", status);
  free(large);
  for (int i = 0; i < 100; i++) free(blocks[i]);
}

static void *work(void *argument) {
  uint64_t state = seed + (uintptr_t)argument;
  void *held[8] = {0};
  for (int round = 0; round < (int)(3000 * scale); round++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    unsigned place = (unsigned)(state >> 40) & 7;
    free(held[place]);
    held[place] = NULL;
    // At most one of the threads can hold more than a ninth; so somebody always can go on.
    held[place] = stave_malloc((state >> 33) % 1000 + 1, M_SMALL, STAVE_NOWAIT);
    if ((state >> 20) % 64 == 0) {
      for (int i = 0; i < 8; i++) { free(held[i]); held[i] = NULL; }
      held[0] = stave_malloc(30000, M_SMALL, STAVE_WAITOK);
      CHECK(held[0] && stave_usable_size(held[0]) >= 30000, "round %d", round);
      free(held[0]);
      held[0] = NULL;
    }
  }
  for (int i = 0; i < 8; i++) free(held[i]);
  return NULL;
}

// Blocks are out when a type ends, and freed later.
static void ends(void) {
  for (int round = 0; round < (int)(2000 * scale); round++) {
    struct stave_type type = {STAVE_TYPE_MAGIC, 1, "passing", "", NULL, round % 2 ? 1 << 20 : 0, {0}};
    stave_type_register(&type);
    void *small = stave_malloc(100, &type, STAVE_NOWAIT), *large = stave_malloc(50000, &type, STAVE_NOWAIT);
    CHECK(small && large, "round %d", round);
    int quiet = dup(2), nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, 2);
    stave_type_unregister(&type);
    dup2(quiet, 2);
    close(quiet);
    close(nothing);
    free(small);
    free(large);
  }
}

// Types beyond those that there can be are none: their memory is malloc's, also where they have a limit, and their end is no mistake.
static void beyondTheTable(void) {
  pid_t child = fork();
  CHECK(child >= 0, "fork: %s", strerror(errno));
  if (child == 0) {
    alarm(120);
    enum { many = 4200 };
    static struct stave_type all[many];
    for (int i = 0; i < many; i++) {
      all[i] = (struct stave_type){STAVE_TYPE_MAGIC, 1, "one of many", "", NULL, i % 2 ? 1 << 20 : 0, {0}};
      stave_type_register(&all[i]);
    }
    struct stave_type *none = &all[many - 1];
    CHECK(none->internals == NULL, "there are more types than the manual says");
    char *block = stave_malloc(100, none, STAVE_WAITOK | STAVE_ZERO);
    CHECK(block && block[99] == 0, "memory of a type that is none: %s", strerror(errno));
    CHECK((block = stave_realloc(block, 100000, none, STAVE_NOWAIT)), "a realloc of a type that is none");
    stave_free(block, none);
    CHECK(stave_type_set_limit(none, 1000) == -1 && errno == ENOMEM, "a limit for a type that is none");
    struct stave_type *before = stave_type_enter(none);
    free(malloc(100));
    stave_type_leave(before);
    for (int i = many - 1; i >= 0; i--) stave_type_unregister(&all[i]);
    _exit(0);
  }
  expectSuccess(child, "a child with many types");
}

int main(int count, char *arguments[]) {
  begin(count, arguments);
  atDefinition();
  live();
  pthread_t threads[6];
  for (uintptr_t i = 0; i < 6; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0, "a thread");
  for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
  ends();
  beyondTheTable();
  void *all = stave_malloc(65536, M_SMALL, STAVE_NOWAIT);
  CHECK(all, "not all came back");
  free(all);
  return 0;
}
