// SPDX-License-Identifier: BSD-2-Clause
//
// Allocating at odd moments: before any constructor, in constructors of the first priority, in thread-specific and
// thread_local destructors (as a thread's first use of the heap, too), in atexit, quick_exit and destructor functions. Blocks
// of one moment are freed in another. A child process goes through each kind of end; its parent counts what was reached.

#include <sys/mman.h>

#include "scenario.h"

extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

enum { perMoment = 40 };
typedef struct {
  void *blocks[perMoment];
  size_t sizes[perMoment];
} Moment;

static Moment beforeAll, early, late, fromKey;
static unsigned *reached;  // shared with the parent
enum { preinit = 1, constructor = 2, keyDestructor = 4, threadLocal = 8, atExit = 16, quick = 32, destructor = 64, secondKey = 128 };

static void allocateIn(Moment *moment, uint64_t salt) {
  for (unsigned i = 0; i < perMoment; i++) {
    size_t size = probeSize(i * 37) % 200000;
    void *block = i % 4 == 0 ? calloc(1, size) : i % 4 == 1 ? aligned_alloc(64, size) : malloc(size);
    if (i % 4 == 3) block = realloc(block, size += 100);
    CHECK(block, "%zu bytes: %s", size, strerror(errno));
    moment->blocks[i] = block;
    moment->sizes[i] = size;
    paint(block, size, tagOf(block, salt));
  }
}

static void release(Moment *moment, uint64_t salt, const char *when) {
  for (unsigned i = 0; i < perMoment; i++) {
    verify(moment->blocks[i], moment->sizes[i], tagOf(moment->blocks[i], salt), when);
    free(moment->blocks[i]);
    moment->blocks[i] = NULL;
  }
}

static void arrive(unsigned moment) {
  if (reached) *reached |= moment;
}

static unsigned reachedAtStart;

static void first(int count, char **arguments, char **environment) {
  (void)count, (void)arguments, (void)environment;
  allocateIn(&beforeAll, 1);
  reachedAtStart |= preinit;
}
__attribute__((section(".preinit_array"), used)) static void (*const firstEntry)(int, char **, char **) = first;

__attribute__((constructor(101))) static void construct(void) {
  release(&beforeAll, 1, "made before all constructors");
  allocateIn(&early, 1);
  reachedAtStart |= constructor;
}

static pthread_key_t key, otherKey;
static unsigned rounds;

static void destroyKey(void *value) {
  // The last thing a thread does with the heap; setting the key again makes libc come back.
  free(value);
  Moment moment;
  allocateIn(&moment, 2);
  release(&moment, 2, "in a key's destructor");
  if (++rounds < PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(key, malloc(100 * rounds));
  else arrive(keyDestructor);
}

static void destroyOther(void *value) {
  // For a thread that used nothing of the heap before: its first call comes now.
  (void)value;
  allocateIn(&fromKey, 3);
  arrive(secondKey);
}

static void destroyThreadLocal(void *object) {
  free(object);
  Moment moment;
  allocateIn(&moment, 4);
  release(&moment, 4, "in a thread_local's destructor");
  arrive(threadLocal);
}

static void *ordinary(void *unused) {
  pthread_setspecific(key, malloc(77));
  __cxa_thread_atexit_impl(destroyThreadLocal, malloc(5000), &__dso_handle);
  return unused;
}

static void *abstinent(void *unused) {
  static char value;
  pthread_setspecific(otherKey, &value);
  return unused;
}

static void leave(void) {
  Moment moment;
  allocateIn(&moment, 5);
  release(&moment, 5, "in an atexit handler");
  release(&early, 1, "made in a constructor");
  allocateIn(&late, 6);
  arrive(atExit);
}

static void leaveQuickly(void) {
  release(&early, 1, "made in a constructor");
  Moment moment;
  allocateIn(&moment, 7);
  release(&moment, 7, "in an at_quick_exit handler");
  arrive(quick);
}

__attribute__((destructor(101))) static void destroyLast(void) {
  if (!reached) return;
  release(&late, 6, "made in an atexit handler");
  arrive(destructor);
}

static void live(int way) {
  alarm(60);
  CHECK(pthread_key_create(&key, destroyKey) == 0 && pthread_key_create(&otherKey, destroyOther) == 0, "no keys");
  joinThread(startThread(ordinary, NULL));
  joinThread(startThread(abstinent, NULL));
  release(&fromKey, 3, "made in the destructor of a thread that has ended");
  atexit(leave);
  at_quick_exit(leaveQuickly);
  if (way == 0) exit(0);
  if (way == 1) quick_exit(0);
  // The main thread ends first; the process goes on with another, and its end is like exit.
  pthread_setspecific(key, malloc(10)), rounds = 0;
  startThread(ordinary, NULL);
  pthread_exit(NULL);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  seed = 1;  // blocks were painted before anybody could read the arguments
  CHECK(reachedAtStart == (preinit | constructor), "only %#x was reached before main", reachedAtStart);
  unsigned *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED, "mmap: %s", strerror(errno));
  const unsigned always = keyDestructor | secondKey | threadLocal;
  const unsigned wanted[] = {always | atExit | destructor, always | quick, always | atExit | destructor};
  for (unsigned long round = 0; round < scaled(60); round++)
    for (int way = 0; way < 3; way++) {
      *shared = 0;
      pid_t child = fork();
      CHECK(child >= 0, "fork: %s", strerror(errno));
      if (child == 0) {
        reached = shared;
        live(way);
      }
      expectSuccess(child, "a process that ends");
      CHECK((*shared & wanted[way]) == wanted[way], "way %d reached %#x, not %#x", way, *shared, wanted[way]);
    }
  return 0;
}
