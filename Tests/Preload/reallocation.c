// SPDX-License-Identifier: BSD-2-Clause
//
// realloc keeps what was in the block, whichever way it grows or shrinks, between small and large and back, for blocks from
// every function; a refused realloc keeps the block; realloc to no bytes leaks nothing.

#include "scenario.h"

static void *obtain(Random *random, size_t size) {
  void *block = NULL;
  switch (below(random, 4)) {
  case 0: block = malloc(size); break;
  case 1: block = calloc(1, size); break;
  case 2: block = aligned_alloc((size_t)16 << below(random, 9), size); break;
  default: block = realloc(NULL, size); break;
  }
  CHECK(block, "%zu bytes: %s", size, strerror(errno));
  return block;
}

static void *change(void *block, size_t old, size_t new, uint64_t salt) {
  uint64_t tag = tagOf(block, salt);
  void *moved = realloc(block, new);
  CHECK(moved, "realloc from %zu to %zu: %s", old, new, strerror(errno));
  CHECK(malloc_usable_size(moved) >= new, "realloc to %zu is usable for %zu", new, malloc_usable_size(moved));
  verifyKept(moved, old, new, tag, "after realloc");
  paint(moved, new, tagOf(moved, salt));
  return moved;
}

/// Every pair of a coarse and a fine list of sizes, with neighbours kept alive that would notice an overlap.
static void allPairs(void) {
  Random random = randomFrom(1);
  for (unsigned i = 1; probeSize(i) <= 600000; i += 3)
    for (unsigned j = 1; probeSize(j) <= 600000; j += i % 3 ? 131 : 67) {
      size_t old = probeSize(i), new = probeSize(j);
      void *block = obtain(&random, old), *neighbour = malloc(old);
      CHECK(neighbour, "%zu bytes: %s", old, strerror(errno));
      paint(block, old, tagOf(block, i));
      paint(neighbour, old, tagOf(neighbour, j));
      block = change(block, old, new, i);
      verify(neighbour, old, tagOf(neighbour, j), "a neighbour of realloc");
      block = change(block, new, old, i);
      verify(block, old, tagOf(block, i), "there and back");
      free(neighbour);
      free(block);
    }
}

/// Growth by steps to many MiB and down again: in place, by moving pages, or by copying.
static void growth(void) {
  Random random = randomFrom(2);
  for (unsigned long round = 0; round < scaled(6); round++) {
    size_t size = 1 + below(&random, 100);
    void *block = obtain(&random, size), *between[64] = {0};
    paint(block, size, tagOf(block, round));
    for (unsigned step = 0; size < (size_t)48 << 20; step++) {
      size_t next = size + 1 + below(&random, size < 1000 ? 1000 : size);
      block = change(block, size, next, round);
      size = next;
      free(between[step % 64]);
      between[step % 64] = malloc(1 + below(&random, 300000));  // stands in the way of growing in place
    }
    while (size > 8) {
      size_t next = size - 1 - below(&random, size / 2);
      block = change(block, size, next, round);
      size = next;
    }
    free(block);
    for (unsigned i = 0; i < 64; i++) free(between[i]);
  }
}

static void refusal(void) {
  for (unsigned i = 1; probeSize(i) <= 3000000; i += 7) {
    size_t size = probeSize(i);
    void *block = malloc(size);
    CHECK(block, "%zu bytes: %s", size, strerror(errno));
    paint(block, size, i);
    errno = 0;
    void *moved = realloc(block, hideSize(PTRDIFF_MAX - (size_t)8192));
    CHECK(!moved && errno == ENOMEM, "an absurd realloc gave %p, errno %d", moved, errno);
    verify(block, size, i, "after a refused realloc");
    block = change(block, 0, size, 0);
    free(block);
  }
}

/// C leaves it open whether the result is NULL. In both cases the old block must be gone.
static void toNothing(void) {
  size_t before = residentBytes();
  for (unsigned i = 0; i < 100000; i++) {
    size_t size = i % 100 ? 5000 : 500000;
    char *block = malloc(size);
    CHECK(block, "%zu bytes: %s", size, strerror(errno));
    block[0] = block[4999] = 1;
    free(hide(realloc(hide(block), hideSize(0))));
  }
  size_t after = residentBytes();
  CHECK(after < before + ((size_t)64 << 20), "realloc to 0 leaks: resident memory went from %zu to %zu", before, after);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  for (unsigned long round = scaled(1); round > 0; round--) allPairs();
  growth();
  refusal();
  toNothing();
  return 0;
}
