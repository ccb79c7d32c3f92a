// SPDX-License-Identifier: BSD-2-Clause
//
// calloc gives zeros, also where another block was dirty before: the allocator may know that pages are fresh from the
// system, and must not believe it of pages that it has handed out once.

#include "scenario.h"

static void checkZero(const unsigned char *block, size_t size) {
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    uint64_t word;
    memcpy(&word, block + at, 8);
    CHECK(word == 0, "calloc of %zu bytes holds %#llx at offset %zu", size, (unsigned long long)word, at);
  }
  for (; at < size; at++) CHECK(block[at] == 0, "calloc of %zu bytes holds %#x at offset %zu", size, block[at], at);
}

static void *zeroed(size_t size, unsigned way) {
  void *block = way == 0 ? calloc(1, size) : way == 1 ? calloc(size, 1) : calloc((size + 6) / 7, 7);
  CHECK(block, "calloc of %zu bytes: %s", size, strerror(errno));
  checkZero(block, size);
  return block;
}

/// For every size: dirty blocks go back by free or realloc, whole or shrunk, and come again from calloc.
static void everySize(size_t most) {
  enum { most_batch = 24 };
  unsigned char *blocks[most_batch];
  for (unsigned i = 0; probeSize(i) <= most; i++) {
    size_t size = probeSize(i);
    unsigned batch = size <= 4096 ? most_batch : size <= 262144 ? 4 : 2;
    for (unsigned j = 0; j < batch; j++) {
      blocks[j] = malloc(size);
      CHECK(blocks[j], "malloc of %zu bytes: %s", size, strerror(errno));
      memset(blocks[j], 0xEE, malloc_usable_size(blocks[j]));
    }
    for (unsigned j = 0; j < batch; j++) free(blocks[j * 5 % batch]);  // every batch is prime to 5
    for (unsigned j = 0; j < batch; j++) {
      blocks[j] = zeroed(size, j % 3);
      memset(blocks[j], 0xDD, size);
    }
    for (unsigned j = 0; j < batch; j++) {
      unsigned char *shrunk = realloc(blocks[j], size / 3 + 1);
      CHECK(shrunk, "realloc to %zu bytes: %s", size / 3 + 1, strerror(errno));
      free(shrunk);
    }
    free(zeroed(size, 0));
  }
}

/// Random order, so that a dirty large block is cut into others and smaller ones merge.
static void mixed(unsigned long steps) {
  enum { slots = 64 };
  unsigned char *blocks[slots] = {0};
  Random random = randomFrom(1);
  while (steps-- > 0) {
    unsigned slot = (unsigned)below(&random, slots);
    size_t size = below(&random, 8) ? randomSize(&random, 100000) : below(&random, 3000000);
    free(blocks[slot]);
    if (below(&random, 2)) {
      blocks[slot] = zeroed(size, (unsigned)below(&random, 3));
    } else {
      blocks[slot] = malloc(size);
      CHECK(blocks[slot], "malloc of %zu bytes: %s", size, strerror(errno));
    }
    memset(blocks[slot], 0xCC, malloc_usable_size(blocks[slot]));
    if (below(&random, 5000) == 0) malloc_trim(0);
  }
  for (unsigned i = 0; i < slots; i++) free(blocks[i]);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  for (unsigned long round = scaled(1); round > 0; round--) everySize((size_t)4 << 20);
  mixed(scaled(6000));
  return 0;
}
