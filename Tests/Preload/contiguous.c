// SPDX-License-Identifier: BSD-2-Clause
//
// stave_contigmalloc and stave_contigfree as programs meet them: memory that is contiguous in the machine, seen through
// /proc/self/pagemap where that is allowed, counted for its type, taken back by contigfree and by free, not inherited by a fork; errno
// of what cannot be had; and mistakes, each made by a process of its own, which must die with a report. Needs --expect-stave.

#include "scenario.h"
#include "../../Sources/CPlatform/include/stave_type.h"

enum { NOWAIT = 1, WAITOK = 2, PAGE = 4096 };
static struct stave_type dma[1] = {{STAVE_TYPE_MAGIC, 1, "dma", "rings", NULL, 0, {0}}};

#ifdef LINKED
void *stave_contigmalloc(size_t, struct stave_type *, int, unsigned long, unsigned long, unsigned long, unsigned long);
void stave_contigfree(void *, size_t, struct stave_type *);
#endif
typedef void *(*allocate_function)(size_t, struct stave_type *, int, unsigned long, unsigned long, unsigned long, unsigned long);
typedef void (*free_function)(void *, size_t, struct stave_type *);
static allocate_function contigmalloc;
static free_function contigfree;

static uint64_t frame(const char *address) {
  uint64_t entry = 0;
  int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  if (pread(file, &entry, 8, (off_t)((uintptr_t)address / PAGE * 8)) != 8) entry = 0;
  close(file);
  return entry & ((1ull << 55) - 1);
}

static void look(const char *block, size_t size, uint64_t alignment) {
  uint64_t first = frame(block);
  if (first == 0) return;
  CHECK(first * PAGE % alignment == 0, "frame %llx, alignment %llx", (unsigned long long)first, (unsigned long long)alignment);
  for (size_t page = 1; page < size / PAGE; page++) {
    uint64_t next = frame(block + page * PAGE);
    CHECK(next == first + page, "page %zu of %zu is in frame %llx, the first in %llx", page, size / PAGE, (unsigned long long)next, (unsigned long long)first);
  }
}

static void freeNull(void) { contigfree(NULL, PAGE, dma); }
static void freeOther(void) { contigfree(hide(malloc(100000)), 100000, dma); }
static void freeOtherSize(void) { contigfree(contigmalloc(65536, dma, WAITOK, 0, ~0ul, 1, 0), 32768, dma); }
static void sizeZero(void) { contigmalloc(0, dma, NOWAIT, 0, ~0ul, 1, 0); }
static void oddAlignment(void) { contigmalloc(PAGE, dma, NOWAIT, 0, ~0ul, 3 * PAGE, 0); }
static void noAlignment(void) { contigmalloc(PAGE, dma, NOWAIT, 0, ~0ul, 0, 0); }
static void oddBoundary(void) { contigmalloc(PAGE, dma, NOWAIT, 0, ~0ul, 1, 3 * PAGE); }
static void twice(void) {
  void *block = contigmalloc(65536, dma, WAITOK, 0, ~0ul, 1, 0);
  contigfree(block, 65536, dma);
  contigfree(block, 65536, dma);
}

static void mustDie(void (*mistake)(void), const char *words) {
  int ends[2];
  CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
  pid_t child = fork();
  CHECK(child >= 0, "fork: %s", strerror(errno));
  if (child == 0) {
    dup2(ends[1], 2);
    mistake();
    _exit(55);
  }
  close(ends[1]);
  char text[1000];
  size_t used = 0;
  for (ssize_t more; used < sizeof text - 1 && (more = read(ends[0], text + used, sizeof text - 1 - used)) > 0;) used += (size_t)more;
  text[used] = 0;
  close(ends[0]);
  int status;
  CHECK(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "'%s' ended with status %#x: %s", words, status, text);
  CHECK(strstr(text, words), "no '%s' in: %s", words, text);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  if (!expectStave) skip("only Stave has contigmalloc");
  contigmalloc = (allocate_function)FUNCTION(stave_contigmalloc);
  contigfree = (free_function)FUNCTION(stave_contigfree);
  CHECK(contigmalloc && contigfree, "the library has no contigmalloc");

  mustDie(freeNull, "0x0, which is no contiguous block");
  mustDie(freeOther, "which is no contiguous block");
  mustDie(sizeZero, "of 0 bytes");
  mustDie(oddAlignment, "alignment 12288");
  mustDie(noAlignment, "alignment 0");
  mustDie(oddBoundary, "boundary 12288");

  errno = 0;
  CHECK(contigmalloc(2 * PAGE, dma, WAITOK, 0, ~0ul, 1, PAGE) == NULL && errno == ENOMEM, "what no memory can meet: %s", strerror(errno));
  CHECK(contigmalloc((size_t)-1, dma, WAITOK, 0, ~0ul, 1, 0) == NULL && errno == ENOMEM, "absurd size: %s", strerror(errno));
  CHECK(contigmalloc((size_t)1 << 45, dma, WAITOK, 0, ~0ul, 1, 0) == NULL && errno == ENOMEM, "32 TiB: %s", strerror(errno));

  // One page can be had everywhere.
  char *page = contigmalloc(100, dma, NOWAIT, 0, ~0ul, 1, 0);
  CHECK(page, "a page: %s", strerror(errno));
  CHECK(malloc_usable_size(page) == PAGE, "%zu bytes", malloc_usable_size(page));
  int shown = frame(page) != 0;
  contigfree(page, 100, dma);
  errno = 0;
  char *low = contigmalloc(PAGE, dma, NOWAIT, 0, 1ul << 52, 1, 0);
  CHECK(shown ? low != NULL : low == NULL && errno == ENOTSUP, "with address limits: %p, %s", (void *)low, strerror(errno));
  if (low) contigfree(low, PAGE, dma);

  if (contigmalloc((size_t)1 << 20, dma, WAITOK, 0, ~0ul, 1, 0) == NULL) skip("this machine has no huge page");
  for (unsigned long round = 0; round < scaled(20); round++) {
    for (size_t size = PAGE; size <= (size_t)2 << 20; size *= 2) {
      char *block = contigmalloc(size, dma, WAITOK, 0, ~0ul, size, 0);
      if (!block) continue;
      for (size_t at = 0; at < size; at += 64) CHECK(block[at] == 0, "byte %zu of %zu is not zero", at, size);
      look(block, size, size);
      memset(block, 0x5a, size);
      pid_t child = round == 0 ? fork() : -1;
      if (child == 0) {
        // It is not the child's, but may be freed there.
        contigfree(block, size, dma);
        void *others[20];
        for (int i = 0; i < 20; i++) memset(others[i] = malloc(100000), 1, 100000);
        for (int i = 0; i < 20; i++) free(others[i]);
        _exit(0);
      }
      if (child > 0) {
        memset(block, 0x3c, size);
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with status %#x", status);
        look(block, size, size);  // a write after a fork has moved nothing
      }
      if (round % 2) free(block); else contigfree(block, size, dma);
    }
  }
  // What realloc makes of it is ordinary memory.
  char *block = contigmalloc(65536, dma, WAITOK, 0, ~0ul, 1, 0);
  CHECK(block, "64 KiB: %s", strerror(errno));
  memset(block, 7, 65536);
  char *more = realloc(block, 1000000);
  CHECK(more && more != block && more[0] == 7 && more[65535] == 7, "realloc");
  free(more);
  mustDie(freeOtherSize, "of 32768 bytes");
  mustDie(twice, "which is no contiguous block");
  return 0;
}
