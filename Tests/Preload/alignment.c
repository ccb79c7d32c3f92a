// SPDX-License-Identifier: BSD-2-Clause
//
// Alignment, function by function: what malloc, calloc and realloc give unasked, and what the aligned functions do with
// good and bad arguments, each as C and POSIX say. Under Stave also: powers of two are aligned to themselves up to a page.

#include "scenario.h"

typedef void *(*Aligned)(size_t, size_t);

static size_t page;

static void checkNatural(void *block, size_t size, const char *function) {
  uintptr_t address = (uintptr_t)block;
  CHECK(block, "%s of %zu bytes: %s", function, size, strerror(errno));
  size_t least = size >= 16 ? 16 : size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
  if (expectStave && size && (size & (size - 1)) == 0) least = size < page ? size : page;
  CHECK(address % least == 0, "%s of %zu bytes gave %p", function, size, block);
}

static void unasked(void) {
  enum { batch = 7 };
  void *blocks[batch];
  for (unsigned i = 1; probeSize(i) <= 4u << 20; i++) {
    size_t size = probeSize(i);
    unsigned count = size < 65536 ? batch : 2;
    for (unsigned j = 0; j < count; j++) {
      blocks[j] = j % 2 ? calloc(1, size) : malloc(size);
      checkNatural(blocks[j], size, j % 2 ? "calloc" : "malloc");
      memset(blocks[j], 0x5A, size < 4096 ? size : 4096);
    }
    for (unsigned j = 0; j < count; j++) {
      size_t next = probeSize(i + j);
      void *moved = realloc(blocks[j], next);
      checkNatural(moved, next, "realloc");
      free(moved);
    }
  }
}

/// One aligned function over all alignments and a choice of sizes, several blocks at a time.
static void asked(const char *name, Aligned function, size_t least, size_t most) {
  const size_t sizes[] = {1, 2, 7, 8, 15, 16, 17, 24, 48, 63, 64, 65, 100, 128, 192, 500, 1000, 1024, 3000, 4095, 4096, 4097, 8192,
                          20000, 32768, 65536, 100000, 262144, 1000000, 1048577};
  enum { batch = 3 };
  for (size_t alignment = least; alignment <= most; alignment *= 2)
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      void *blocks[batch];
      for (unsigned j = 0; j < batch; j++) {
        blocks[j] = function(alignment, sizes[i]);
        CHECK(blocks[j], "%s(%zu, %zu): %s", name, alignment, sizes[i], strerror(errno));
        CHECK((uintptr_t)blocks[j] % alignment == 0, "%s(%zu, %zu) gave %p", name, alignment, sizes[i], blocks[j]);
        CHECK(malloc_usable_size(blocks[j]) >= sizes[i], "%s(%zu, %zu) is usable for %zu", name, alignment, sizes[i],
              malloc_usable_size(blocks[j]));
        paint(blocks[j], sizes[i], tagOf(blocks[j], 1));
      }
      for (unsigned j = 0; j < batch; j++) verify(blocks[j], sizes[i], tagOf(blocks[j], 1), name);
      uint64_t tag = tagOf(blocks[0], 1);
      void *moved = realloc(blocks[0], sizes[i] * 2);
      CHECK(moved, "realloc of a block of %s: %s", name, strerror(errno));
      verifyKept(moved, sizes[i], sizes[i], tag, "after realloc");
      blocks[0] = moved;
      for (unsigned j = 0; j < batch; j++) free(blocks[j]);
    }
}

static void *viaPosix(size_t alignment, size_t size) {
  void *block = NULL;
  errno = posix_memalign(&block, alignment, size);
  return errno ? NULL : block;
}

static void posixErrors(void) {
  void *const untouched = hide(&page);
  const size_t bad[] = {0, 1, 2, 3, 4, 6, 7, 9, 12, 24, 40, 48, 100, 4095, 4097, 12288, SIZE_MAX, SIZE_MAX / 2};
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    void *block = untouched;
    errno = 12345;
    int error = posix_memalign(&block, hideSize(bad[i]), 100);
    CHECK(error == EINVAL, "posix_memalign with alignment %zu returned %d", bad[i], error);
    CHECK(block == untouched, "posix_memalign changed the pointer on failure");
    CHECK(errno == 12345, "posix_memalign set errno to %d", errno);
  }
  const size_t huge[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX - (size_t)64};
  for (unsigned i = 0; i < sizeof huge / sizeof *huge; i++)
    for (size_t alignment = 8; alignment <= (size_t)1 << 20; alignment *= 4) {
      void *block = untouched;
      errno = 12345;
      int error = posix_memalign(&block, alignment, hideSize(huge[i]));
      CHECK(error == ENOMEM, "posix_memalign(%zu, %zu) returned %d", alignment, huge[i], error);
      CHECK(block == untouched, "posix_memalign changed the pointer on failure");
      if (expectStave) CHECK(errno == 12345, "posix_memalign set errno to %d", errno);
    }
  void *block = untouched;
  int error = posix_memalign(&block, hideSize((size_t)1 << 62), 1);
  CHECK(error == ENOMEM && block == untouched, "posix_memalign(2^62, 1) returned %d, %p", error, block);
  errno = 12345;
  error = posix_memalign(&block, 64, 200);
  CHECK(error == 0 && (uintptr_t)block % 64 == 0, "posix_memalign(64, 200) returned %d, %p", error, block);
  if (expectStave) CHECK(errno == 12345, "posix_memalign set errno to %d on success", errno);
  free(block);
  for (size_t alignment = 8; alignment <= 65536; alignment *= 2) {
    error = posix_memalign(&block, alignment, hideSize(0));
    CHECK(error == 0, "posix_memalign(%zu, 0) returned %d", alignment, error);
    CHECK((uintptr_t)block % alignment == 0, "posix_memalign(%zu, 0) gave %p", alignment, block);
    free(block);
  }
}

static void expectRefusal(const char *name, void *block, int wanted, size_t alignment, size_t size) {
  CHECK(!block, "%s(%zu, %zu) gave %p", name, alignment, size, block);
  CHECK(errno == wanted, "%s(%zu, %zu) set errno to %d, not %d", name, alignment, size, errno, wanted);
}

static void otherErrors(void) {
  const size_t bad[] = {3, 6, 12, 24, 48, 100, 4097, 12288};
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    errno = 0;
    void *block = aligned_alloc(hideSize(bad[i]), 2 * bad[i]);
    if (expectStave) expectRefusal("aligned_alloc", block, EINVAL, bad[i], 2 * bad[i]);
    free(block);
    // The manual page says EINVAL; glibc has always rounded up. Either is right, a block aligned to less is not.
    errno = 0;
    block = memalign(hideSize(bad[i]), 100);
    size_t rounded = 1;
    while (rounded < bad[i]) rounded *= 2;
    if (!expectStave) (void)rounded;
    else if (block) CHECK((uintptr_t)block % rounded == 0, "memalign(%zu, 100) gave %p", bad[i], block);
    else CHECK(errno == EINVAL, "memalign(%zu, 100) set errno to %d", bad[i], errno);
    free(block);
  }
  if (expectStave) {
    errno = 0;
    expectRefusal("aligned_alloc", aligned_alloc(hideSize(0), 100), EINVAL, 0, 100);
    errno = 0;
    expectRefusal("aligned_alloc", aligned_alloc(hideSize((size_t)1 << 62), 1), ENOMEM, (size_t)1 << 62, 1);
  }
  const size_t huge[] = {SIZE_MAX, SIZE_MAX - 4095, (size_t)PTRDIFF_MAX + 1};
  for (unsigned i = 0; i < sizeof huge / sizeof *huge; i++) {
    size_t size = hideSize(huge[i]);
    errno = 0;
    expectRefusal("aligned_alloc", aligned_alloc(64, size), ENOMEM, 64, size);
    errno = 0;
    expectRefusal("memalign", memalign(4096, size), ENOMEM, 4096, size);
    errno = 0;
    expectRefusal("valloc", valloc(size), ENOMEM, page, size);
    errno = 0;
    expectRefusal("pvalloc", pvalloc(size), ENOMEM, page, size);
  }
}

static void pages(void) {
  for (unsigned i = 1; probeSize(i) <= 1u << 20; i += 5) {
    size_t size = probeSize(i), whole = (size + page - 1) / page * page;
    void *one = valloc(size), *two = pvalloc(size);
    CHECK(one && (uintptr_t)one % page == 0, "valloc(%zu) gave %p", size, one);
    CHECK(two && (uintptr_t)two % page == 0, "pvalloc(%zu) gave %p", size, two);
    CHECK(malloc_usable_size(two) >= whole, "pvalloc(%zu) is usable for %zu", size, malloc_usable_size(two));
    memset(one, 1, size);
    memset(two, 2, whole);
    free(one);
    free(two);
  }
  free(hide(valloc(hideSize(0))));
  free(hide(pvalloc(hideSize(0))));
}

int main(int count, char **arguments) {
  begin(count, arguments);
  page = (size_t)sysconf(_SC_PAGESIZE);
  unasked();
  asked("posix_memalign", viaPosix, sizeof(void *), (size_t)4 << 20);
  asked("aligned_alloc", aligned_alloc, 1, (size_t)1 << 20);
  asked("memalign", memalign, 1, (size_t)1 << 20);
  posixErrors();
  otherErrors();
  pages();
  return 0;
}
