// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations against a model: for every block its size and alignment are known, its content follows from its address.
// Each is verified before it is resized or freed. First one thread with many blocks; then several that pass blocks to each
// other, so that most are freed by another thread than the one that made them.

#include <stdatomic.h>

#include "scenario.h"

typedef struct {
  void *pointer;
  size_t size, alignment;
} Block;

static void checkBlock(const Block *block, const char *when) {
  CHECK((uintptr_t)block->pointer % block->alignment == 0, "%p is not aligned to %zu", block->pointer, block->alignment);
  CHECK(malloc_usable_size(block->pointer) >= block->size, "%p of %zu bytes is usable for %zu", block->pointer, block->size,
        malloc_usable_size(block->pointer));
  verify(block->pointer, block->size, tagOf(block->pointer, 1), when);
}

static size_t chooseSize(Random *random) {
  switch (below(random, 4)) {
  case 0: return below(random, 200);
  case 1: return probeSize((unsigned)below(random, 1200));
  default: return randomSize(random, (size_t)4 << 20);
  }
}

static Block make(Random *random) {
  Block block = {NULL, chooseSize(random), 1};
  block.alignment = block.size >= 16 ? 16 : 1;
  switch (below(random, 8)) {
  case 0: {
    block.pointer = calloc(1, block.size);
    const unsigned char *bytes = block.pointer;
    if (bytes)
      for (size_t at = 0; at < block.size; at += at < 4096 ? 1 : 509)
        CHECK(bytes[at] == 0, "calloc of %zu bytes holds %#x at offset %zu", block.size, bytes[at], at);
    break;
  }
  case 1:
    block.alignment = (size_t)8 << below(random, 12);
    block.pointer = aligned_alloc(block.alignment, block.size);
    break;
  case 2:
    block.alignment = (size_t)8 << below(random, 16);
    if (posix_memalign(&block.pointer, block.alignment, block.size)) block.pointer = NULL;
    break;
  case 3: block.pointer = reallocarray(NULL, 1, block.size); break;
  default: block.pointer = malloc(block.size); break;
  }
  CHECK(block.pointer, "%zu bytes: %s", block.size, strerror(errno));
  paint(block.pointer, block.size, tagOf(block.pointer, 1));
  return block;
}

static void resize(Block *block, Random *random) {
  checkBlock(block, "before realloc");
  size_t size = below(random, 3) ? chooseSize(random) + 1 : block->size + below(random, block->size / 2 + 2) + 1;
  uint64_t tag = tagOf(block->pointer, 1);
  void *moved = realloc(block->pointer, size);
  CHECK(moved, "realloc from %zu to %zu: %s", block->size, size, strerror(errno));
  verifyKept(moved, block->size, size, tag, "after realloc");
  *block = (Block){moved, size, size >= 16 ? 16 : 1};
  paint(moved, size, tagOf(moved, 1));
}

static void discard(Block *block) {
  if (!block->pointer) return;
  checkBlock(block, "before free");
  free(block->pointer);
  block->pointer = NULL;
}

static int byAddress(const void *left, const void *right) {
  uintptr_t a = (uintptr_t)((const Block *)left)->pointer, b = (uintptr_t)((const Block *)right)->pointer;
  return a < b ? -1 : a > b;
}

/// The patterns would show an overlap once both blocks are painted; this shows it also where they have no bytes.
static void checkApart(const Block *blocks, unsigned count) {
  Block *sorted = malloc(count * sizeof *sorted);
  CHECK(sorted, "a list: %s", strerror(errno));
  unsigned used = 0;
  for (unsigned i = 0; i < count; i++)
    if (blocks[i].pointer) sorted[used++] = blocks[i];
  qsort(sorted, used, sizeof *sorted, byAddress);
  for (unsigned i = 1; i < used; i++)
    CHECK((char *)sorted[i - 1].pointer + malloc_usable_size(sorted[i - 1].pointer) <= (char *)sorted[i].pointer && sorted[i - 1].pointer != sorted[i].pointer,
          "%p of %zu bytes and %p overlap", sorted[i - 1].pointer, sorted[i - 1].size, sorted[i].pointer);
  free(sorted);
}

static void alone(void) {
  enum { many = 6000 };
  static Block blocks[many];
  Random random = randomFrom(1);
  unsigned long steps = scaled(1000000);
  for (unsigned long step = 0; step < steps; step++) {
    // The number of live blocks swells and shrinks, so that slabs fill up and run empty.
    unsigned wave = (unsigned)(step / 20000) % 4, reach = wave == 1 ? many : wave == 2 ? many / 2 : many / 8;
    Block *block = &blocks[below(&random, reach)];
    if (block->pointer && below(&random, 4) == 0) {
      resize(block, &random);
    } else {
      discard(block);
      if (below(&random, 10)) *block = make(&random);
    }
    if (step % 50000 == 49999) {
      checkApart(blocks, many);
      if (wave == 3) for (unsigned i = reach; i < many; i++) discard(&blocks[i]);
      if (wave == 0) malloc_trim(0);
    }
  }
  for (unsigned i = 0; i < many; i++) discard(&blocks[i]);
}

enum { threadCount = 4, boxes = 64, own = 300 };
static _Atomic(Block *) box[boxes];

static void *together(void *argument) {
  Random random = randomFrom(100 + (uintptr_t)argument);
  Block blocks[own] = {{0}};
  for (unsigned long step = scaled(200000); step > 0; step--) {
    Block *block = &blocks[below(&random, own)];
    switch (below(&random, 6)) {
    case 0:
      if (block->pointer) resize(block, &random);
      break;
    case 1:
    case 2: {  // the description travels on the heap too
      Block *parcel = malloc(sizeof *parcel);
      CHECK(parcel, "a parcel: %s", strerror(errno));
      *parcel = block->pointer ? *block : make(&random);
      parcel = atomic_exchange(&box[below(&random, boxes)], parcel);
      *block = parcel ? *parcel : (Block){0};
      free(parcel);
      break;
    }
    default:
      discard(block);
      *block = make(&random);
    }
  }
  for (unsigned i = 0; i < own; i++) discard(&blocks[i]);
  return NULL;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  alone();
  pthread_t threads[threadCount];
  for (unsigned i = 0; i < threadCount; i++) threads[i] = startThread(together, (void *)(uintptr_t)i);
  for (unsigned i = 0; i < threadCount; i++) joinThread(threads[i]);
  for (unsigned i = 0; i < boxes; i++) {
    Block *parcel = atomic_exchange(&box[i], NULL);
    if (parcel) discard(parcel);
    free(parcel);
  }
  return 0;
}
