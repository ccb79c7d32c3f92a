// SPDX-License-Identifier: BSD-2-Clause
//
// What all scenarios share: arguments, failing with a reason, repeatable random numbers, and patterns that fill a block so
// that any other block, or the allocator, that writes into it is noticed. Nothing here allocates, so that a scenario
// alone decides what happens on the heap. To be compiled with -D_GNU_SOURCE -fno-builtin; and with -DLINKED where libstave.a is
// part of the program, and -DFULLY_STATIC where everything is.

#ifndef SCENARIO_H
#define SCENARIO_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHARED __attribute__((unused)) static

/// Set by --expect-stave: also check what Stave promises and C or POSIX leave open.
static int expectStave;
/// Set by --seed.
static uint64_t seed = 1;
/// The first argument that is not one of ours, and its value.
static const char *role = "", *roleArgument = "";
static double scale = 1;

/// Ends the process without running any handler: a broken heap must not get the chance to hang.
__attribute__((format(printf, 4, 5), noreturn)) SHARED void fail(const char *file, int line, const char *what, const char *format, ...) {
  char text[700];
  const char *name = strrchr(file, '/');
  int used = snprintf(text, sizeof text, "%s:%d: expected %s: ", name ? name + 1 : file, line, what);
  if (used > 400) used = 400;
  va_list arguments;
  va_start(arguments, format);
  int more = vsnprintf(text + used, sizeof text - (size_t)used - 1, format, arguments);
  va_end(arguments);
  used += more < (int)sizeof text - used - 1 ? more : (int)sizeof text - used - 2;
  text[used++] = '\n';
  if (write(2, text, (size_t)used) < 0) _exit(2);
  _exit(1);
}

#define CHECK(condition, ...)                                             \
  do {                                                                    \
    if (!(condition)) fail(__FILE__, __LINE__, #condition, __VA_ARGS__);  \
  } while (0)

/// For what this machine or user cannot show. The runner prints the line and goes on.
__attribute__((noreturn)) SHARED void skip(const char *why) {
  printf("SKIPPED: %s\n", why);
  fflush(stdout);
  _exit(77);
}

/// Hides where a pointer comes from, so that the compiler neither removes a call nor warns of a deliberate mistake.
SHARED void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer)::"memory");
  return pointer;
}

SHARED size_t hideSize(size_t size) {
  __asm__ volatile("" : "+r"(size));
  return size;
}

SHARED unsigned long scaled(double count) {
  double result = count * scale;
  return result < 1 ? 1 : (unsigned long)result;
}

/// Whether the allocator that serves malloc also brings this function (a peer may leave it to libc, whose figures are then
/// about another heap).
SHARED int provided(const char *name) {
#ifdef LINKED
  (void)name;
  return 1;
#else
  Dl_info here, there;
  void *ours = dlsym(RTLD_DEFAULT, "malloc"), *function = dlsym(RTLD_DEFAULT, name);
  if (!ours || !function || !dladdr(ours, &here) || !dladdr(function, &there)) return 0;
  return strcmp(here.dli_fname, there.dli_fname) == 0;
#endif
}

/// A function that this libc may lack; NULL if nobody has it. A linked-in one is not looked up, for no library asks for it, so
/// that linkers do not export it.
#if defined(LINKED) && !defined(__cplusplus)
void cfree(void *), free_sized(void *, size_t), free_aligned_sized(void *, size_t, size_t);
#define FUNCTION(name) ((void *)name)
#else
#define FUNCTION(name) dlsym(RTLD_DEFAULT, #name)
#endif

SHARED void begin(int count, char **arguments) {
  const char *wanted = getenv("STAVE_TEST_SCALE");
  if (wanted && *wanted) scale = strtod(wanted, NULL);
  for (int i = 1; i < count; i++) {
    if (!strcmp(arguments[i], "--expect-stave")) expectStave = 1;
    else if (!strcmp(arguments[i], "--seed") && i + 1 < count) seed = strtoull(arguments[++i], NULL, 0);
    else if (!strcmp(arguments[i], "--scale") && i + 1 < count) scale = strtod(arguments[++i], NULL);
    else if (!*role) {
      role = arguments[i];
      if (i + 1 < count && arguments[i + 1][0] != '-') roleArgument = arguments[++i];
    }
  }
  if (!(scale > 0)) scale = 1;
#ifdef LINKED
  // The root has its mark once the heap has served somebody.
  extern const char stave_root[] __attribute__((weak));
  CHECK(stave_root && memcmp(stave_root, "OOREVATS", 8) == 0, "malloc is not the one that was linked in");
#endif
#ifndef FULLY_STATIC
  Dl_info info;
  void *function = dlsym(RTLD_DEFAULT, "malloc");
  CHECK(function && dladdr(function, &info), "malloc has no owner");
  if (expectStave) CHECK(!strstr(info.dli_fname, "/libc.so"), "malloc is libc's: the library was not preloaded");
#endif
}

// MARK: Random numbers

typedef struct {
  uint64_t state;
} Random;

SHARED uint64_t mix(uint64_t value) {
  value ^= value >> 31;
  value *= 0xD6E8FEB86659FD93u;
  value ^= value >> 29;
  value *= 0xA0761D6478BD642Fu;
  return value ^ (value >> 32);
}

SHARED Random randomFrom(uint64_t stream) {
  Random random = {mix(seed * 0x9E3779B97F4A7C15u + stream + 1)};
  return random;
}

SHARED uint64_t draw(Random *random) { return mix(random->state += 0x9E3779B97F4A7C15u); }
SHARED uint64_t below(Random *random, uint64_t limit) { return draw(random) % limit; }

/// Mostly small, now and then up to `limit`: every octave is as likely as the others below 1 KiB, rarer above.
SHARED size_t randomSize(Random *random, size_t limit) {
  unsigned octave = (unsigned)below(random, 12);
  while (octave >= 10 && octave < 40 && below(random, 3) == 0) octave++;
  size_t size = below(random, (size_t)2 << octave);
  return size > limit ? size % limit : size;
}

/// The sizes worth a look: all up to 1 KiB, then eight steps per octave, each with both neighbours.
SHARED size_t probeSize(unsigned index) {
  if (index <= 1024) return index;
  unsigned step = (index - 1025) / 3, shift = step / 8;
  return (((size_t)1024 + 128 * (step % 8)) << shift) + (index - 1025) % 3 - 1;
}

// MARK: Patterns

/// The pattern of a block follows from its address and a salt; of large blocks only the head, the tail and one word per
/// page are filled, so that they cost little.
SHARED uint64_t tagOf(const void *block, uint64_t salt) { return mix((uintptr_t)block ^ mix(salt ^ seed)); }

SHARED uint64_t patternAt(uint64_t tag, size_t offset) { return (tag + offset) * 0x9FB21C651E98DF25u; }

SHARED void paintRange(unsigned char *block, size_t from, size_t to, uint64_t tag) {
  for (; from + 8 <= to; from += 8) {
    uint64_t word = patternAt(tag, from);
    memcpy(block + from, &word, 8);
  }
  uint64_t word = patternAt(tag, from);
  if (from < to) memcpy(block + from, &word, to - from);
}

SHARED void verifyRange(const unsigned char *block, size_t from, size_t to, uint64_t tag, size_t size, const char *when) {
  for (; from < to; from += 8) {
    uint64_t word = patternAt(tag, from), found = 0;
    size_t length = to - from < 8 ? to - from : 8;
    if (length < 8) word &= ((uint64_t)1 << (8 * length)) - 1;
    memcpy(&found, block + from, length);
    CHECK(found == word, "block %p of %zu bytes holds %#llx, not %#llx, at offset %zu (%s)", (const void *)block, size,
          (unsigned long long)found, (unsigned long long)word, from, when);
  }
}

static const size_t wholeLimit = 65536, edge = 4096;

SHARED void paint(void *pointer, size_t size, uint64_t tag) {
  unsigned char *block = (unsigned char *)pointer;
  if (size <= wholeLimit) {
    paintRange(block, 0, size, tag);
    return;
  }
  paintRange(block, 0, edge, tag);
  for (size_t at = edge; at + edge < size; at += 4096) paintRange(block, at, at + 8, tag);
  paintRange(block, (size - edge) & ~(size_t)7, size, tag);
}

/// Checks those of the first `kept` bytes that `paint(pointer, size, tag)` filled (with tag's block then perhaps elsewhere).
SHARED void verifyKept(const void *pointer, size_t size, size_t kept, uint64_t tag, const char *when) {
  const unsigned char *block = (const unsigned char *)pointer;
  if (kept > size) kept = size;
  if (size <= wholeLimit) {
    verifyRange(block, 0, kept, tag, size, when);
    return;
  }
  verifyRange(block, 0, kept < edge ? kept : edge, tag, size, when);
  for (size_t at = edge; at + edge < size && at + 8 <= kept; at += 4096) verifyRange(block, at, at + 8, tag, size, when);
  size_t tail = (size - edge) & ~(size_t)7;
  if (tail < kept) verifyRange(block, tail, kept, tag, size, when);
}

SHARED void verify(const void *pointer, size_t size, uint64_t tag, const char *when) { verifyKept(pointer, size, size, tag, when); }

// MARK: Processes and threads

SHARED pthread_t startThread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  int error = pthread_create(&thread, NULL, body, argument);
  CHECK(error == 0, "pthread_create: %s", strerror(error));
  return thread;
}

SHARED void joinThread(pthread_t thread) {
  int error = pthread_join(thread, NULL);
  CHECK(error == 0, "pthread_join: %s", strerror(error));
}

/// Waits for a child that must end with status 0. One that hangs is expected to have set itself an alarm.
SHARED void expectSuccess(pid_t child, const char *what) {
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR, "waitpid(%d): %s", (int)child, strerror(errno));
  CHECK(!(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM), "%s hung", what);
  CHECK(!WIFSIGNALED(status), "%s died of signal %d", what, WTERMSIG(status));
  CHECK(WEXITSTATUS(status) == 0, "%s ended with status %d", what, WEXITSTATUS(status));
}

/// Resident bytes of this process, read without the heap.
SHARED size_t residentBytes(void) {
  char text[128] = "";
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0, "/proc/self/statm: %s", strerror(errno));
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  unsigned long all = 0, resident = 0;
  CHECK(length > 0 && sscanf(text, "%lu %lu", &all, &resident) == 2, "/proc/self/statm says '%s'", text);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

#endif
