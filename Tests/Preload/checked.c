// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks (check:1): mistakes that go unnoticed without them, each made by a process of its own, which must die of SIGABRT with the
// address in its report; and beside each its twin, the same program without the mistake, which must end well and say nothing.
// Only what Stave promises: needs --expect-stave.

#include <spawn.h>
#include <sys/resource.h>

#include "scenario.h"

extern char **environ;

enum { survived = 55, many = 20000 };
/// Whether the mistake is made, or its twin runs.
static int mistaken;

/// Says which address the report must name.
static void *announce(void *address) {
  printf("%lx\n", (unsigned long)(uintptr_t)address);
  fflush(stdout);
  return hide(address);
}

static char *block(size_t size) {
  char *result = hide(malloc(size));
  CHECK(result, "%zu bytes: %s", size, strerror(errno));
  memset(result, 0x11, size);
  return result;
}

static void *freeIt(void *address) {
  free(address);
  return NULL;
}

/// Writes what is not there: the word that says who freed a block has any byte.
static void *spoil(void *address) {
  volatile char *byte = address;
  *byte = *byte == 0x42 ? 0x43 : 0x42;
  return NULL;
}

/// Frees in between, none of which hands the block out again, since all they have is as large and taken before.
static void twiceAfterMany(size_t size, unsigned count) {
  char **others = (char **)block(count * sizeof *others), *one = announce(block(size));
  for (unsigned i = 0; i < count; i++) others[i] = block(size);
  free(one);
  for (unsigned i = 0; i < count; i++) free(others[i]);
  if (mistaken) free(hide(one));
  free(others);
}
static void smallAfterMany(void) { twiceAfterMany(48, many); }
// A zone keeps 4 MiB of slabs in which all is free.
static void middleAfterMany(void) { twiceAfterMany(1000, 3000); }
static void pagesAfterMany(void) { twiceAfterMany(20000, 150); }
static void longAgo(void) { twiceAfterMany(1000, many); }

static void inThread(void) {
  char *one = announce(block(80));
  joinThread(startThread(freeIt, one));
  if (mistaken) joinThread(startThread(freeIt, one));
}

static void inMainThread(void) {
  char *one = announce(block(80)), *other = block(80);
  joinThread(startThread(freeIt, one));
  joinThread(startThread(freeIt, other));
  if (mistaken) free(hide(one));
}

static void inChild(void) {
  char *one = announce(block(300)), *other = block(300);
  free(one);
  pid_t child = fork();
  if (child == 0) {
    free(mistaken ? hide(one) : other);
    _exit(survived);
  }
  int status;
  CHECK(child > 0 && waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
  if (WIFSIGNALED(status)) raise(WTERMSIG(status));
}

static void aligned(void) {
  char *one = announce(hide(aligned_alloc(256, 512))), *other = block(512);
  free(one);
  free(other);
  if (mistaken) free(hide(one));
}

static void large(void) {
  char *one = announce(block(300000)), *other = block(300000);
  free(one);
  free(other);
  if (mistaken) free(hide(one));
}

static void resized(void) {
  char *one = announce(block(100));
  if (mistaken) free(one);
  one = realloc(hide(one), hideSize(90));
  free(one);
}

static void resizedThenFreed(void) {
  char *one = announce(block(100)), *other = realloc(hide(one), hideSize(10000));
  CHECK(other && other[99] == 0x11, "realloc");
  free(mistaken ? hide(one) : other);
}

static void measured(void) {
  char *one = announce(block(100));
  if (mistaken) free(one);
  CHECK(malloc_usable_size(hide(one)) >= 100, "usable size");
}

static void interior(void) {
  char *one = block(200);
  free(announce(mistaken ? one + 16 : one));
}

static void foreign(void) {
  char local[64], *one = block(200);
  free(announce(mistaken ? hide(local + 16) : one));
}

/// Writes to a block before or after it is freed; what is asked for next, of that size, meets it.
static void late(size_t size, size_t offset) {
  char *one = announce(block(size)), *others[100];
  for (unsigned i = 0; i < 100; i++) others[i] = block(size);
  if (!mistaken) spoil(one + offset);
  free(one);
  if (mistaken) spoil(hide(one + offset));
  for (unsigned i = 0; i < 3000; i++) {
    char *next = malloc(hideSize(size));
    if (i >= 1000) free(next);
  }
  for (unsigned i = 0; i < 100; i++) free(others[i]);
}
static void lateFirst(void) { late(64, 0); }
static void lateTiny(void) { late(16, 7); }
static void lateLastWord(void) { late(16, 15); }
static void lateMiddle(void) { late(1000, 999); }
static void latePages(void) { late(20000, 12345); }

static void lateLarge(void) {
  char *one = announce(block(100000));
  if (!mistaken) spoil(one + 77777);
  free(one);
  if (mistaken) spoil(hide(one + 77777));
  free(malloc(hideSize(100000)));
}

static void lateElsewhere(void) {
  char *one = announce(block(64));
  if (!mistaken) joinThread(startThread(spoil, one + 20));
  free(one);
  if (mistaken) joinThread(startThread(spoil, one + 20));
  for (unsigned i = 0; i < 3000; i++) CHECK(malloc(hideSize(64)), "malloc");
}

static void lateInSlab(void) {
  char *blocks[1000];
  for (unsigned i = 0; i < 1000; i++) blocks[i] = block(800);
  announce(blocks[500]);
  if (!mistaken) spoil(blocks[500] + 300);
  // One keeps the slab.
  for (unsigned i = 0; i < 1000; i++)
    if (i != 501) free(blocks[i]);
  if (mistaken) spoil(hide(blocks[500] + 300));
  free(blocks[501]);
  malloc_trim(0);
}

static const struct {
  const char *name, *report;
  void (*make)(void);
} mistakes[] = {
    {"double free of a small block after many frees", "double free", smallAfterMany},
    {"double free of a middle block after many frees", "double free", middleAfterMany},
    {"double free of pages after many frees", "double free", pagesAfterMany},
    {"double free of a block whose slab has been given back", "which is free already", longAgo},
    {"double free in another thread", "double free", inThread},
    {"double free of what another thread freed", "double free", inMainThread},
    {"double free in a child", "double free", inChild},
    {"double free of an aligned block", "double free", aligned},
    {"double free of a large block", "bad free", large},
    {"realloc of a free block", "realloc() of a free block", resized},
    {"free of what realloc has moved", "double free", resizedThenFreed},
    {"usable size of a free block", "malloc_usable_size() of a free block", measured},
    {"free inside a block", "inside a block", interior},
    {"free of a stack address", "does not own", foreign},
    {"write to the first byte of a free block", "byte 0 is 0x42 instead of 0xde", lateFirst},
    {"write to a free block of 16 bytes", "byte 7 is 0x42 instead of 0xde", lateTiny},
    {"write to the last word of a free block", "the last word", lateLastWord},
    {"write to the last byte of a free block", "byte 999 is 0x42 instead of 0xde", lateMiddle},
    {"write to free pages", "byte 12345 is 0x42 instead of 0xc0", latePages},
    {"write to a free large block", "byte 77777 is 0x42 instead of 0xc0", lateLarge},
    {"write in another thread", "byte 20 is 0x42 instead of 0xde", lateElsewhere},
    {"write found when its slab is given back", "byte 300 is 0x42 instead of 0xde", lateInSlab},
};

static size_t readAll(int file, char *text, size_t room) {
  size_t length = 0;
  ssize_t got;
  while (length < room - 1 && (got = read(file, text + length, room - 1 - length)) > 0) length += (size_t)got;
  text[length] = 0;
  close(file);
  return length;
}

/// The environment with item checks on, whatever else it says, and with no period's end, at which free slabs are given back.
static char **checkedEnvironment(void) {
  static char *result[2000];
  static char options[2000] = "STAVE_OPTIONS=check:1,background:0";
  unsigned count = 0;
  for (char **entry = environ; *entry && count < 1990; entry++) {
    if (strncmp(*entry, "STAVE_OPTIONS=", 14)) result[count++] = *entry;
    else snprintf(options, sizeof options, "%s,check:1,background:0", *entry);
  }
  result[count++] = options;
  result[count] = NULL;
  return result;
}

/// Runs one mistake or its twin in a new process; returns 0 if that ended as it should.
static int observe(const char *self, unsigned number, int isTwin) {
  const char *name = mistakes[number].name;
  int output[2], errors[2];
  CHECK(pipe2(output, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0, "pipe2: %s", strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output[1], 1);
  posix_spawn_file_actions_adddup2(&actions, errors[1], 2);
  char *const arguments[] = {(char *)self, (char *)(isTwin ? "twin" : "make"), (char *)name, (char *)"--expect-stave", NULL};
  pid_t child;
  int error = posix_spawn(&child, self, &actions, NULL, arguments, checkedEnvironment());
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
  if (isTwin) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != survived) wrong = "without the mistake did not end well";
    else if (*report) wrong = "without the mistake was reported";
  } else if (WIFEXITED(status) && WEXITSTATUS(status) == survived) wrong = "went unnoticed";
  else if (!WIFSIGNALED(status)) wrong = "ended with another status";
  else if (WTERMSIG(status) == SIGALRM) wrong = "hung";
  else if (WTERMSIG(status) != SIGABRT) wrong = "died of another signal than SIGABRT";
  else if (!*address || !strcasestr(report, address)) wrong = "was reported without its address";
  else if (!strstr(report, mistakes[number].report)) wrong = "was reported as something else";
  if (wrong) printf("%s %s (wait status %#x, address %s); report:\n%s\n", name, wrong, (unsigned)status, address, report);
  return wrong != NULL;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  if (!expectStave) skip("what a mistake leads to is left open by C; --expect-stave says that Stave's promises hold");
  const unsigned all = sizeof mistakes / sizeof *mistakes;
  if (!strcmp(role, "make") || !strcmp(role, "twin")) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    alarm(60);
    mistaken = !strcmp(role, "make");
    for (unsigned i = 0; i < all; i++)
      if (!strcmp(mistakes[i].name, roleArgument)) mistakes[i].make();
    _exit(survived);
  }
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0, "/proc/self/exe: %s", strerror(errno));
  self[length] = 0;
  int wrong = 0;
  for (unsigned i = 0; i < all; i++) wrong += observe(self, i, 0) + observe(self, i, 1);
  printf("%u mistakes made, each with its twin, %d of them not as promised\n", all, wrong);
  return wrong ? 1 : 0;
}
