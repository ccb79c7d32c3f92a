// SPDX-License-Identifier: BSD-2-Clause
//
// Memory that runs out. A program starts under an address space limit (RLIMIT_AS) of some hundred MiB and allocates until it is
// refused: with NULL and ENOMEM, never with a crash. What it has stays whole; after freeing, allocation works again, as much
// as before and, under Stave, in any other size. The same with several threads at the limit, and with a limit set at run time.

#include <spawn.h>
#include <sys/resource.h>

#include "scenario.h"

extern char **environ;

enum { limitMiB = 320 };
typedef struct Link {
  struct Link *next;
} Link;

static const size_t kinds[] = {64, 300, 1000, 5000, 40000, 300000, 3000000, 50000000};

static void *obtain(size_t size, unsigned way) {
  void *block = NULL;
  int error = 0;
  errno = 0;
  switch (way) {
  case 0: block = malloc(size); break;
  case 1: block = calloc(1, size); break;
  case 2: block = realloc(NULL, size); break;
  case 3: block = aligned_alloc(256, size); break;
  default:
    if ((error = posix_memalign(&block, 4096, size)) != 0) block = NULL;
    CHECK(error == 0 || error == ENOMEM, "posix_memalign returned %d", error);
    return block;
  }
  CHECK(block || errno == ENOMEM, "%zu bytes in way %u were refused with errno %d", size, way, errno);
  return block;
}

/// Takes all that can be had, in a list through the blocks themselves; returns how many there were.
static size_t takeAll(Link **list, size_t size, unsigned way) {
  size_t count = 0;
  for (;;) {
    Link *block = obtain(size, way);
    if (!block) return count;
    paintRange((unsigned char *)block, 8, size < 512 ? size : 512, tagOf(block, 1));
    block->next = *list;
    *list = block;
    count++;
    CHECK(count * size < (size_t)limitMiB << 21, "%zu blocks of %zu bytes are more than the limit allows", count, size);
  }
}

static void giveBack(Link *list, size_t size) {
  while (list) {
    Link *next = list->next;
    verifyRange((unsigned char *)list, 8, size < 512 ? size : 512, tagOf(list, 1), size, "after exhaustion");
    free(list);
    list = next;
  }
}

static void oneKind(size_t size, unsigned way) {
  Link *list = NULL;
  size_t first = takeAll(&list, size, way);
  size_t alignment = way == 3 ? 256 : way == 4 ? 4096 : 16;
  size_t taken = (size + alignment - 1) / alignment * alignment;  // by each, from any allocator
  CHECK(first * taken > (size_t)limitMiB << 18 || size > 10000000, "only %zu blocks of %zu bytes could be had", first, size);
  if (list && size <= 5000) {  // a refused realloc at the edge keeps the block
    errno = 0;
    void *moved = realloc(list, (size_t)limitMiB << 20);
    CHECK(!moved && errno == ENOMEM, "realloc beyond the limit gave %p, errno %d", moved, errno);
  }
  Link *half = list;
  for (size_t i = 0; i < first / 2; i++) half = half->next;
  Link *rest = NULL;
  if (half) rest = half->next, half->next = NULL;
  giveBack(list, size);
  Link *again = NULL;
  size_t second = takeAll(&again, size, 0);
  CHECK(second + 2 >= first / 2 * 9 / 10, "after %zu of %zu blocks were freed only %zu could be had", first / 2, first, second);
  giveBack(again, size);
  giveBack(rest, size);
  if (expectStave) {
    void *other = malloc((size_t)80 << 20);
    CHECK(other, "all blocks of %zu bytes are free, and 80 MiB cannot be had", size);
    free(other);
    for (unsigned i = 0; i < 10000; i++) {
      void *small = malloc(700);
      CHECK(small, "all blocks of %zu bytes are free, and 700 bytes cannot be had", size);
      free(small);
    }
  }
}

static pthread_barrier_t allThere;

static void *atTheLimit(void *argument) {
  pthread_barrier_wait(&allThere);
  size_t size = kinds[(uintptr_t)argument + 1];
  for (unsigned round = 0; round < 3; round++) {
    Link *list = NULL;
    takeAll(&list, size, 0);
    giveBack(list, size);
  }
  return NULL;
}

static void *atHand(void *argument) {
  free(hide(malloc(100000)));
  return argument;
}

static void limited(unsigned long rounds) {
  alarm(120 + (unsigned)rounds * 60);
  pthread_t threads[4];  // started now, while there surely is room for their stacks
  pthread_barrier_init(&allThere, NULL, 5);
  for (unsigned i = 0; i < 4; i++) threads[i] = startThread(atTheLimit, (void *)(uintptr_t)i);
  for (unsigned long round = 0; round < rounds; round++)
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) oneKind(kinds[i], (unsigned)(i + round) % 5);
  pthread_barrier_wait(&allThere);
  for (unsigned i = 0; i < 4; i++) joinThread(threads[i]);
  // libc keeps an arena per thread, which may leave no room for another stack.
  if (expectStave) joinThread(startThread(atHand, NULL));
}

/// A limit set when the program has run for a while.
static void lateLimit(void) {
  alarm(120);
  void *before[1000];
  for (unsigned i = 0; i < 1000; i++) before[i] = malloc(probeSize(i));
  struct rlimit limit = {(rlim_t)limitMiB << 20, (rlim_t)limitMiB << 20};
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit: %s", strerror(errno));
  Link *list = NULL;
  size_t count = 0;
  for (; count < 100000; count++) {  // what was reserved before the limit may still be used, hence an end of our own
    Link *block = obtain(20000, 0);
    if (!block) break;
    block->next = list;
    list = block;
  }
  while (list) {
    Link *next = list->next;
    free(list);
    list = next;
  }
  for (unsigned i = 0; i < 1000; i++) free(before[i]);
  for (unsigned i = 0; i < 5000; i++) {
    void *block = malloc(20000);
    CHECK(block, "everything is free, and 20000 bytes cannot be had: %s", strerror(errno));
    free(block);
  }
}

/// First everything for large blocks, then, when they are free, for the smallest, which take most of what an allocator needs
/// for itself.
static void largeThenSmall(void) {
  alarm(120);
  Link *list = NULL;
  takeAll(&list, 2000000, 0);
  void *between = malloc(4096);
  giveBack(list, 2000000);
  list = NULL;
  size_t count = takeAll(&list, 16, 0);
  CHECK(count * 16 > (size_t)limitMiB << 18, "after large blocks only %zu blocks of 16 bytes could be had", count);
  giveBack(list, 16);
  free(between);
}

static void run(const char *what, unsigned mebibytes) {
  char self[4096], text[24], factor[24];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0, "/proc/self/exe: %s", strerror(errno));
  self[length] = 0;
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
  snprintf(factor, sizeof factor, "%g", scale);
  char *const arguments[] = {self, (char *)what, (char *)"--seed", text, (char *)"--scale", factor,
                             expectStave ? (char *)"--expect-stave" : NULL, NULL};
  pid_t child = fork();
  CHECK(child >= 0, "fork: %s", strerror(errno));
  if (child == 0) {
    struct rlimit limit = {(rlim_t)mebibytes << 20, (rlim_t)mebibytes << 20};
    if (mebibytes && setrlimit(RLIMIT_AS, &limit) != 0) _exit(97);
    execv(self, arguments);
    _exit(98);
  }
  expectSuccess(child, what);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  if (!strcmp(role, "limited")) limited(scaled(1));
  else if (!strcmp(role, "late")) lateLimit();
  else if (!strcmp(role, "small")) largeThenSmall();
  else {
    int file = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    char mode = '0';
    if (file >= 0 && read(file, &mode, 1) == 1 && mode == '2') skip("the system does not overcommit memory; its own limit would come first");
    if (file >= 0) close(file);
    run("limited", limitMiB);
    run("late", 0);
    run("small", limitMiB);
  }
  return 0;
}
