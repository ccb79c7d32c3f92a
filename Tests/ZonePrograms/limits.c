// SPDX-License-Identifier: BSD-2-Clause
//
// What runs at limits: actions and handlers in a thread of the library's own, where they may take locks that are held by who met the
// limit; in a child of fork, too. And limits of packet buffers that were set by options.

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stave.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stave_zone *zone;
static void *spare;
static pthread_t asking;
static atomic_int actions, wishes, changes;

static void give(struct stave_zone *met) {
  CHECK(met == zone && !pthread_equal(pthread_self(), asking));
  pthread_mutex_lock(&lock);
  stave_zone_free(zone, spare);
  spare = NULL;
  pthread_mutex_unlock(&lock);
  actions++;
}

// Who may not wait gets nothing now, and what the action gave back later.
static void meet(void) {
  asking = pthread_self();
  int before = actions;
  pthread_mutex_lock(&lock);
  CHECK((spare = stave_zone_alloc(zone, STAVE_NOWAIT)) != NULL);
  void *item = stave_zone_alloc(zone, STAVE_NOWAIT);
  CHECK(item == NULL && spare != NULL && actions == before);
  pthread_mutex_unlock(&lock);
  while (actions == before) usleep(1000);
  CHECK((item = stave_zone_alloc(zone, STAVE_NOWAIT)) != NULL && spare == NULL);
  stave_zone_free(zone, item);
}

static void action(void) {
  zone = stave_zone_create("met", 100, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  CHECK(zone != NULL && stave_zone_set_max(zone, 1) == 1);
  stave_zone_set_maxaction(zone, give);
  for (int round = 0; round < 20; round++) meet();
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(60);
    meet();
    _exit(7);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  meet();
  // It ends when no action of it runs any more.
  CHECK(stave_zone_alloc(zone, STAVE_NOWAIT) != NULL && stave_zone_alloc(zone, STAVE_NOWAIT) == NULL && stave_zone_destroy(zone) == 1);
}

// A zone with that action, all of whose items, one, are out: the request that meets its limit has been made.
static struct stave_zone *full(const char *name, void (*action)(struct stave_zone *), void **item) {
  struct stave_zone *zone = stave_zone_create(name, 100, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  CHECK(zone != NULL && stave_zone_set_max(zone, 1) == 1);
  stave_zone_set_maxaction(zone, action);
  actions = 0;
  CHECK((*item = stave_zone_alloc(zone, STAVE_NOWAIT)) != NULL && stave_zone_alloc(zone, STAVE_NOWAIT) == NULL);
  return zone;
}

// Who meets the limit while the action runs has it run once more.
static atomic_int phase;
static void again(struct stave_zone *met) {
  (void)met;
  actions++;
  if (phase == 0) {
    phase = 1;
    while (phase == 1) usleep(1000);
  }
}

// A child of the thread in which an action runs: its zone is in that action still.
static void split(struct stave_zone *met) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(60);
    stave_zone_destroy(met);
    _exit(1);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  phase = 3;
}

static void repeat(void) {
  void *item;
  struct stave_zone *busy = full("busy", again, &item);
  while (phase != 1) usleep(1000);
  CHECK(stave_zone_alloc(busy, STAVE_NOWAIT) == NULL);
  phase = 2;
  while (actions < 2) usleep(1000);
  stave_zone_set_maxaction(busy, split);
  CHECK(stave_zone_alloc(busy, STAVE_NOWAIT) == NULL);
  while (phase != 3) usleep(1000);
  stave_zone_free(busy, item);
  CHECK(stave_zone_destroy(busy) == 0);
}

// Who takes an action or a handler back finds no call of it under way.
static atomic_int entered, left;
static void linger(void *met) {
  (void)met;
  entered = 1;
  usleep(30000);
  left = 1;
}
static void lingerAtLimit(struct stave_zone *met) { linger(met); }

static void takeBack(void) {
  void *item;
  struct stave_zone *slow = full("slow", lingerAtLimit, &item);
  while (entered == 0) usleep(100);
  stave_zone_set_maxaction(slow, NULL);
  CHECK(left == 1);
  stave_zone_free(slow, item);
  CHECK(stave_zone_destroy(slow) == 0);
  entered = left = 0;
  CHECK(stave_mbuf_set_max(STAVE_MBUF_JUMBO16, 1) == 0 && stave_event_add(STAVE_EVENT_MBUF_DRAIN, linger, NULL) == 0);
  struct stave_mbuf *one = stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR, 16384);
  CHECK(one != NULL && stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR, 16384) == NULL);
  while (entered == 0) usleep(100);
  CHECK(stave_event_remove(STAVE_EVENT_MBUF_DRAIN, linger, NULL) == 0 && left == 1);
  stave_m_freem(one);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_JUMBO16, 0) == 0);
}

// What an action or a handler itself asks for at the limit has it run no more.
static void asks(struct stave_zone *met) {
  actions++;
  CHECK(stave_zone_alloc(met, STAVE_NOWAIT) == NULL);
}
static void asksForPackets(void *argument) {
  CHECK(argument == NULL);
  wishes++;
  CHECK(stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR, 16384) == NULL);
}

static void own(void) {
  void *item;
  struct stave_zone *asked = full("asked", asks, &item);
  while (actions == 0) usleep(100);
  usleep(30000);
  CHECK(actions == 1);
  stave_zone_free(asked, item);
  CHECK(stave_zone_destroy(asked) == 0);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_JUMBO16, 1) == 0 && stave_event_add(STAVE_EVENT_MBUF_DRAIN, asksForPackets, NULL) == 0);
  struct stave_mbuf *one = stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR, 16384);
  CHECK(one != NULL && stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR, 16384) == NULL);
  while (wishes == 0) usleep(100);
  usleep(30000);
  CHECK(wishes < 4 && stave_event_remove(STAVE_EVENT_MBUF_DRAIN, asksForPackets, NULL) == 0);
  wishes = 0;
  stave_m_freem(one);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_JUMBO16, 0) == 0);
}

static struct stave_mbufq kept;
static void drop(void *argument) {
  CHECK(argument == &kept && !pthread_equal(pthread_self(), asking));
  wishes++;
  pthread_mutex_lock(&lock);
  stave_mbufq_drain(&kept);
  pthread_mutex_unlock(&lock);
}
static void note(void *argument) {
  CHECK(argument == NULL);
  // What it changes itself is told of, too.
  if (++changes == 1) CHECK(stave_mbuf_set_max(STAVE_MBUF_JUMBO9, 5) == 0 && changes == 2);
}

// A protocol that keeps packets has all clusters; who waits for one has it drop them.
static void packets(void) {
  asking = pthread_self();
  stave_mbufq_init(&kept, 0);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 0) == 0 && stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 10) == 0 && changes == 0);
  CHECK(stave_event_add(STAVE_EVENT_MBUF_LIMITS, note, NULL) == 0 && stave_event_add(STAVE_EVENT_MBUF_DRAIN, drop, &kept) == 0);
  for (int index = 0; index < 10; index++) CHECK(stave_mbufq_enqueue(&kept, stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_PKTHDR)) == 0);
  struct stave_mbuf *packet = stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_PKTHDR);
  CHECK(packet != NULL && wishes > 0);
  stave_m_freem(packet);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 12) == 0 && changes == 2 && stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 11) == -1 && changes == 2);
  CHECK(stave_mbuf_set_max_bytes(1 << 24) == 0 && changes == 3 && stave_mbuf_set_max_bytes(0) == 0 && changes == 4);
  CHECK(stave_event_remove(STAVE_EVENT_MBUF_LIMITS, note, &kept) == -1 && errno == EINVAL);
  CHECK(stave_event_remove(STAVE_EVENT_MBUF_LIMITS, note, NULL) == 0 && stave_event_remove(STAVE_EVENT_MBUF_LIMITS, note, NULL) == -1);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 20) == 0 && changes == 4);
  int added = 0;
  while (stave_event_add(STAVE_EVENT_LOWMEM, note, NULL) == 0) added++;
  CHECK(added == 11 && errno == ENOMEM && stave_event_add(0, note, NULL) == -1 && errno == EINVAL && stave_event_add(1, NULL, NULL) == -1);
  while (added-- > 0) CHECK(stave_event_remove(STAVE_EVENT_LOWMEM, note, NULL) == 0);
}

// All clusters are out, and who waits for one is asked from outside to raise the limit.
static void *request(void *command) {
  usleep(100000);
  CHECK(system(command) == 0);
  return NULL;
}
static void sleeps(char *command) {
  CHECK(stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 2) == 0);
  for (int index = 0; index < 2; index++) CHECK(stave_m_getcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR) != NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, request, command) == 0);
  CHECK(stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_PKTHDR) != NULL && pthread_join(thread, NULL) == 0);
  printf("%zu\n", stave_mbuf_get_max(STAVE_MBUF_CLUSTERS));
}

static void look(void *argument) { CHECK(argument == NULL && stave_mbuf_get_max(STAVE_MBUF_MBUFS) < 1000); }

int main(int count, char **arguments) {
  alarm(100);
  if (count > 2) return sleeps(arguments[2]), 0;
  if (count > 1) {
    // As the options say; who is told may ask.
    CHECK(stave_event_add(STAVE_EVENT_MBUF_LIMITS, look, NULL) == 0);
    CHECK(stave_m_get(STAVE_WAITOK, STAVE_MT_DATA) != NULL);
    printf("%zu %zu %zu\n", stave_mbuf_get_max(STAVE_MBUF_MBUFS), stave_mbuf_get_max(STAVE_MBUF_CLUSTERS), stave_mbuf_get_max(STAVE_MBUF_JUMBO9));
    return 0;
  }
  action();
  repeat();
  takeBack();
  own();
  // All threads have to take part.
  CHECK(setuid(getuid()) == 0);
  packets();
  puts("fine");
  return 0;
}
