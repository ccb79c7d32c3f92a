// SPDX-License-Identifier: BSD-2-Clause
//
// The ends of the range of sizes: nothing asked for, and more than there can be. Zero bytes give distinct blocks that can
// be freed; absurd sizes and products that overflow give NULL and ENOMEM, and leave the heap as it was.

#include "scenario.h"

enum { zeros = 20000 };

static int byAddress(const void *left, const void *right) {
  uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;
  return a < b ? -1 : a > b;
}

static void nothing(void) {
  static uintptr_t blocks[zeros];
  for (unsigned i = 0; i < zeros; i++) {
    void *block = NULL;
    switch (i % 4) {
    case 0: block = malloc(hideSize(0)); break;
    case 1: block = calloc(hideSize(0), 8); break;
    case 2: block = calloc(8, hideSize(0)); break;
    case 3: block = realloc(NULL, hideSize(0)); break;
    }
    CHECK(block, "no bytes asked in way %u gave NULL: %s", i % 4, strerror(errno));
    blocks[i] = (uintptr_t)block;
  }
  qsort(blocks, zeros, sizeof *blocks, byAddress);
  for (unsigned i = 1; i < zeros; i++) CHECK(blocks[i] != blocks[i - 1], "two blocks of no bytes share %#lx", (long)blocks[i]);
  for (unsigned i = 0; i < zeros; i += 2) free((void *)blocks[i]);
  for (unsigned i = 1; i < zeros; i += 2) {
    void *grown = realloc((void *)blocks[i], 40);
    CHECK(grown, "realloc from no bytes: %s", strerror(errno));
    memset(grown, 1, 40);
    free(grown);
  }
}

#define REFUSED(call)                                                    \
  do {                                                                   \
    errno = 0;                                                           \
    void *result = hide(call);                                           \
    CHECK(!result, "it is %p", result);                                  \
    CHECK(errno == ENOMEM, "%s set errno to %d", #call, errno);          \
  } while (0)

static void tooMuch(void) {
  const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 4095, SIZE_MAX - 65536, SIZE_MAX - (1u << 21), SIZE_MAX / 2 + 1,
                          (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX - (size_t)16, (size_t)1 << 62, (size_t)1 << 56, (size_t)1 << 48};
  void *kept = malloc(1000), *large = malloc(3000000);
  CHECK(kept && large, "no memory at all");
  paint(kept, 1000, 1);
  paint(large, 3000000, 2);
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t size = hideSize(sizes[i]);
    REFUSED(malloc(size));
    REFUSED(calloc(1, size));
    REFUSED(calloc(size, 1));
    REFUSED(realloc(NULL, size));
    REFUSED(realloc(hide(kept), size));
    REFUSED(realloc(hide(large), size));
    REFUSED(reallocarray(hide(kept), 1, size));
  }
  const size_t factors[][2] = {{SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 1, 2}, {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX / 3 + 1, 3},
                               {((size_t)1 << 33) + 1, (size_t)1 << 31}, {SIZE_MAX, SIZE_MAX}, {(size_t)1 << 63, 16},
                               {0x5555555555555556, 3}, {16, 0x1000000000000001}};
  for (unsigned i = 0; i < sizeof factors / sizeof *factors; i++) {
    size_t n = hideSize(factors[i][0]), size = hideSize(factors[i][1]);
    REFUSED(calloc(n, size));
    REFUSED(reallocarray(NULL, n, size));
    REFUSED(reallocarray(hide(kept), n, size));
    REFUSED(reallocarray(hide(large), n, size));
  }
  verify(kept, 1000, 1, "after refusals");
  verify(large, 3000000, 2, "after refusals");
  free(kept);
  free(large);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  for (unsigned long round = scaled(4); round > 0; round--) {
    nothing();
    tooMuch();
  }
  void *grown = reallocarray(NULL, 300, 7);
  CHECK(grown && malloc_usable_size(grown) >= 2100, "reallocarray gave %p", grown);
  paint(grown, 2100, 3);
  grown = reallocarray(grown, 100000, 9);
  CHECK(grown, "reallocarray: %s", strerror(errno));
  verifyKept(grown, 2100, 2100, 3, "after reallocarray");
  free(grown);
  free(NULL);
  return 0;
}
