// SPDX-License-Identifier: BSD-2-Clause
//
// Mistakes, each made by a process of its own: freeing or resizing what is not a block, and freeing twice. The process must
// die of SIGABRT at that call, and standard error must name the address. A double free with others in between may go
// unnoticed until the block returns to its slab, which malloc_trim forces. Only what Stave promises: needs --expect-stave.

#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "scenario.h"

extern char **environ;

enum { survived = 55 };
static char global[4096] __attribute__((aligned(4096)));
static void *hereAddress;

/// Says which address the report must name, then lets the mistake happen.
static void *announce(void *address) {
  printf("%lx\n", (unsigned long)(uintptr_t)address);
  fflush(stdout);
  return hereAddress = hide(address);
}

static char *block(size_t size) {
  char *result = hide(malloc(size));
  CHECK(result, "%zu bytes: %s", size, strerror(errno));
  memset(result, 0x11, size);
  return result;
}

static void freeIt(void *address) { free(announce(address)); }

static void resizeIt(void *address) {
  if (realloc(announce(address), hideSize(500)) == hide(address)) return;
}

static void stack(void) {
  char local[64];
  freeIt(hide(local + 16));
}
static void globalAddress(void) { freeIt(global); }
static void text(void) { freeIt((void *)(uintptr_t)&globalAddress); }
static void low(void) { freeIt((void *)16); }
static void nonCanonical(void) { freeIt((void *)0xdead000000000010); }
static void highest(void) { freeIt((void *)(UINTPTR_MAX - 15)); }
static void foreign(void) {
  char *pages = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  freeIt(pages + 4096);
}
static void interiorSmall(void) { freeIt(block(100) + 16); }
static void interiorOdd(void) { freeIt(block(64) + 1); }
static void interiorMiddle(void) { freeIt(block(3000) + 1504); }
static void interiorLarge(void) { freeIt(block(300000) + 4096); }
static void interiorHuge(void) { freeIt(block((size_t)40 << 20) + ((size_t)2 << 20)); }
static void interiorAligned(void) { freeIt((char *)hide(aligned_alloc(4096, 20000)) + 8192); }
static void header(void) { freeIt(block(1000) - 16); }
static void resizeInterior(void) { resizeIt(block(200) + 32); }
static void resizeInteriorLarge(void) { resizeIt(block(2000000) + 65536); }
static void resizeStack(void) {
  char local[64];
  resizeIt(hide(local + 16));
}
static void resizeGlobal(void) { resizeIt(global + 64); }
static void sizedInterior(void) {
  void (*sizedFree)(void *, size_t);
  *(void **)&sizedFree = FUNCTION(free_sized);
  CHECK(sizedFree, "there is no free_sized");
  sizedFree(announce(block(100) + 16), 84);
}

static void twice(size_t size) {
  char *one = announce(block(size));
  free(one);
  free(hide(one));
}
static void twiceSmall(void) { twice(48); }
static void twiceMiddle(void) { twice(5000); }
static void twiceLarge(void) { twice(400000); }
static void twiceHuge(void) { twice((size_t)30 << 20); }
static void resizeFreed(void) {
  char *one = announce(block((size_t)1 << 20));
  free(one);
  if (realloc(hide(one), hideSize(2000000)) == hide(one)) return;
}

// From here on: noticed no later than when everything has drained.

static void between(size_t size, unsigned count) {
  char *blocks[100], *one = announce(block(size));
  for (unsigned i = 0; i < count; i++) blocks[i] = block(size);
  free(one);
  for (unsigned i = 0; i < count; i++) free(blocks[i]);
  free(hide(one));
  malloc_trim(0);
}
static void twiceOneBetween(void) { between(48, 1); }
static void twiceManyBetween(void) { between(256, 100); }
static void twicePagesBetween(void) { between(9000, 10); }

static void *freeElsewhere(void *argument) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(1, &set);
  sched_setaffinity(0, sizeof set, &set);
  free(argument);
  return NULL;
}

static void twiceOnTwoCPUs(void) {
  char *one = announce(block(80));
  joinThread(startThread(freeElsewhere, one));
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  sched_setaffinity(0, sizeof set, &set);
  free(hide(one));
  malloc_trim(0);
}

static const struct {
  const char *name;
  void (*make)(void);
} mistakes[] = {
    {"free of a stack address", stack},
    {"free of a global", globalAddress},
    {"free of a function", text},
    {"free of address 16", low},
    {"free of a non-canonical address", nonCanonical},
    {"free of the highest address", highest},
    {"free of mapped pages", foreign},
    {"free inside a small block", interiorSmall},
    {"free of an odd address", interiorOdd},
    {"free inside a middle block", interiorMiddle},
    {"free inside a large block", interiorLarge},
    {"free inside a huge block", interiorHuge},
    {"free inside an aligned block", interiorAligned},
    {"free before a block", header},
    {"free_sized inside a block", sizedInterior},
    {"realloc inside a small block", resizeInterior},
    {"realloc inside a large block", resizeInteriorLarge},
    {"realloc of a stack address", resizeStack},
    {"realloc of a global", resizeGlobal},
    {"double free, small", twiceSmall},
    {"double free, middle", twiceMiddle},
    {"double free, large", twiceLarge},
    {"double free, huge", twiceHuge},
    {"realloc of a freed large block", resizeFreed},
    {"double free, one between", twiceOneBetween},
    {"double free, many between", twiceManyBetween},
    {"double free of pages, some between", twicePagesBetween},
    {"double free on two CPUs", twiceOnTwoCPUs},
};

static size_t readAll(int file, char *text, size_t room) {
  size_t length = 0;
  ssize_t got;
  while (length < room - 1 && (got = read(file, text + length, room - 1 - length)) > 0) length += (size_t)got;
  text[length] = 0;
  close(file);
  return length;
}

/// Runs one mistake in a new process; returns 0 if it died as it should.
static int observe(const char *self, const char *name) {
  int output[2], errors[2];
  CHECK(pipe2(output, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0, "pipe2: %s", strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output[1], 1);
  posix_spawn_file_actions_adddup2(&actions, errors[1], 2);
  char *const arguments[] = {(char *)self, (char *)"make", (char *)name, (char *)"--expect-stave", NULL};
  pid_t child;
  int error = posix_spawn(&child, self, &actions, NULL, arguments, environ);
  CHECK(error == 0, "posix_spawn: %s", strerror(error));
  posix_spawn_file_actions_destroy(&actions);
  close(output[1]);
  close(errors[1]);
  char address[64], report[8192];
  readAll(output[0], address, sizeof address);
  readAll(errors[0], report, sizeof report);
  int status;
  CHECK(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
  address[strcspn(address, "\n")] = 0;
  const char *wrong = NULL;
  if (WIFEXITED(status) && WEXITSTATUS(status) == survived) wrong = "went unnoticed";
  else if (!WIFSIGNALED(status)) wrong = "ended with another status";
  else if (WTERMSIG(status) == SIGALRM) wrong = "hung";
  else if (WTERMSIG(status) != SIGABRT) wrong = "died of another signal than SIGABRT";
  else if (!*address || !strcasestr(report, address)) wrong = "was reported without its address";
  if (wrong) printf("%s %s (wait status %#x, address %s); report:\n%s\n", name, wrong, (unsigned)status, address, report);
  return wrong != NULL;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  if (!expectStave) skip("what a mistake leads to is left open by C; --expect-stave says that Stave's promises hold");
  const unsigned all = sizeof mistakes / sizeof *mistakes;
  if (!strcmp(role, "make")) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    alarm(30);
    for (unsigned i = 0; i < all; i++)
      if (!strcmp(mistakes[i].name, roleArgument)) mistakes[i].make();
    _exit(survived);
  }
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0, "/proc/self/exe: %s", strerror(errno));
  self[length] = 0;
  int wrong = 0;
  for (unsigned i = 0; i < all; i++) {
    cpu_set_t allowed;
    if (mistakes[i].make == twiceOnTwoCPUs && (sched_getaffinity(0, sizeof allowed, &allowed) || !CPU_ISSET(0, &allowed) || !CPU_ISSET(1, &allowed))) {
      printf("SKIPPED: %s: CPUs 0 and 1 are needed\n", mistakes[i].name);
      continue;
    }
    wrong += observe(self, mistakes[i].name);
  }
  printf("%u mistakes made, %d of them not noticed as promised\n", all, wrong);
  return wrong ? 1 : 0;
}
