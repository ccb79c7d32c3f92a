// SPDX-License-Identifier: BSD-2-Clause
//
// Blocks between guard bytes, made by every entry there is. With a mistake's name as role the process writes before or behind a block
// and frees it: that must end it with SIGABRT and a report. With the name and "right" as its argument it does the same work within
// the block, and must end well. Without a role all of the functions are used as they should be. Wants STAVE_OPTIONS=redzone:1; the runner sets it.

#include "scenario.h"

#include <malloc.h>
#include <new>
#include <sys/resource.h>

static int amount = 0;  // bytes beyond the block; 0 in the right twin

static unsigned char *made(void *memory, size_t size) {
  CHECK(memory, "%zu bytes: %s", size, strerror(errno));
  CHECK(malloc_usable_size(memory) == size, "%zu bytes, usable %zu", size, malloc_usable_size(memory));
  memset(memory, 0x11, size);
  return (unsigned char *)hide(memory);
}

static void over(unsigned char *block, size_t size) { memset(hide(block + size), 0x99, (size_t)amount); }
static void under(unsigned char *block) { memset(hide(block - amount), 0x99, (size_t)amount); }

static void *elsewhere(void *block) {
  free(block);
  return NULL;
}

static void overMalloc() { unsigned char *b = made(malloc(100), 100); over(b, 100); free(b); }
static void underMalloc() { unsigned char *b = made(malloc(100), 100); under(b); free(b); }
static void overOne() { amount = amount ? 1 : 0; overMalloc(); }
static void underOne() { amount = amount ? 1 : 0; underMalloc(); }
static void overCalloc() { unsigned char *b = made(calloc(33, 3), 99); over(b, 99); free(b); }
static void overLarge() { unsigned char *b = made(malloc(300001), 300001); over(b, 300001); free(b); }
static void underLarge() { unsigned char *b = made(malloc(300001), 300001); under(b); free(b); }
static void overAligned() {
  void *b = NULL;
  CHECK(posix_memalign(&b, 4096, 5000) == 0 && (uintptr_t)b % 4096 == 0, "posix_memalign");
  over(made(b, 5000), 5000);
  free(b);
}
static void underAligned() { unsigned char *b = made(aligned_alloc(65536, 200), 200); under(b); free(b); }
static void overRealloc() {
  unsigned char *b = made(realloc(made(malloc(40), 40), 60), 60);
  over(b, 60);
  CHECK(realloc(b, 5000), "realloc");
}
static void underRealloc() { unsigned char *b = made(malloc(40), 40); under(b); CHECK(realloc(b, 41), "realloc"); }
static void overNew() { unsigned char *b = made(operator new(77), 77); over(b, 77); operator delete(b, (size_t)77); }
static void underNewArray() { unsigned char *b = made(operator new[](77), 77); under(b); operator delete[](b, (size_t)77); }
static void overNewAligned() {
  unsigned char *b = made(operator new(77, std::align_val_t(128)), 77);
  over(b, 77);
  operator delete(b, (size_t)77, std::align_val_t(128));
}
static void overThread() {
  unsigned char *b = made(malloc(1000), 1000);
  over(b, 1000);
  joinThread(startThread(elsewhere, b));
}
static void overChild() {
  unsigned char *b = made(malloc(1000), 1000);
  over(b, 1000);
  pid_t child = fork();
  if (child == 0) {
    free(b);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child, "waitpid");
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
  }
  // The parent's own copy.
  if (!amount) free(b);
}

static const struct {
  const char *name;
  void (*make)();
} mistakes[] = {
    {"overMalloc", overMalloc}, {"underMalloc", underMalloc}, {"overOne", overOne}, {"underOne", underOne}, {"overCalloc", overCalloc},
    {"overLarge", overLarge}, {"underLarge", underLarge}, {"overAligned", overAligned}, {"underAligned", underAligned},
    {"overRealloc", overRealloc}, {"underRealloc", underRealloc}, {"overNew", overNew}, {"underNewArray", underNewArray},
    {"overNewAligned", overNewAligned}, {"overThread", overThread}, {"overChild", overChild},
};

/// Every function as it should be used.
static void useAll() {
  Random random = randomFrom(77);
  enum { count = 400 };
  static struct { unsigned char *start; size_t size; } held[count];
  for (unsigned long step = 0; step < scaled(40000); step++) {
    unsigned index = (unsigned)below(&random, count);
    unsigned char *&start = held[index].start;
    size_t &size = held[index].size;
    if (start) {
      verify(start, size, tagOf(NULL, index), "before it is freed or resized");
      if (below(&random, 3) == 0) {
        size_t wanted = 1 + randomSize(&random, 400000), old = size;
        start = (unsigned char *)realloc(start, wanted);
        CHECK(start && malloc_usable_size(start) == wanted, "realloc to %zu", wanted);
        verifyKept(start, old, wanted, tagOf(NULL, index), "after realloc");
        size = wanted;
        paint(start, size, tagOf(NULL, index));
        continue;
      }
      switch (below(&random, 3)) {
        case 0: operator delete(start, size); break;
        case 1: operator delete(start); break;
        default: free(start);
      }
      start = NULL;
      continue;
    }
    size = randomSize(&random, 400000);
    switch (below(&random, 6)) {
      case 0: start = (unsigned char *)calloc(1, size); break;
      case 1: start = (unsigned char *)aligned_alloc((size_t)16 << below(&random, 9), size); break;
      case 2: start = (unsigned char *)operator new(size); break;
      case 3: start = (unsigned char *)operator new(size, std::nothrow); break;
      default: start = (unsigned char *)malloc(size);
    }
    CHECK(start && malloc_usable_size(start) == size, "%zu bytes, usable %zu", size, malloc_usable_size(start));
    paint(start, size, tagOf(NULL, index));
  }
  for (unsigned index = 0; index < count; index++) free(held[index].start);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  if (!expectStave) skip("guard bytes are Stave's; --expect-stave says that they are there");
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  alarm(120);
  if (!*role) {
    useAll();
    return 0;
  }
  amount = strcmp(roleArgument, "right") ? 16 : 0;
  for (auto &mistake : mistakes)
    if (!strcmp(mistake.name, role)) {
      mistake.make();
      return amount ? 55 : 0;  // a mistake that nobody noticed
    }
  fail(__FILE__, __LINE__, "a mistake's name", "%s", role);
}
