// SPDX-License-Identifier: BSD-2-Clause
//
// malloc_usable_size is at least what was asked, and all of it can be written without touching a neighbour. free keeps
// errno. The other ways to free: cfree, and C23's free_sized and free_aligned_sized.

#include "scenario.h"

static void neighbours(void) {
  enum { batch = 40 };
  void *blocks[batch];
  size_t lengths[batch];
  for (unsigned i = 0; probeSize(i) <= 2u << 20; i++) {
    size_t size = probeSize(i);
    unsigned count = size <= 10000 ? batch : 4;
    for (unsigned j = 0; j < count; j++) {
      blocks[j] = malloc(size);
      CHECK(blocks[j], "%zu bytes: %s", size, strerror(errno));
      lengths[j] = malloc_usable_size(blocks[j]);
      CHECK(lengths[j] >= size, "%zu bytes are usable for %zu", size, lengths[j]);
      paint(blocks[j], lengths[j], tagOf(blocks[j], 1));
    }
    for (unsigned j = 0; j < count; j++) {
      CHECK(malloc_usable_size(blocks[j]) == lengths[j], "the usable size of %p changed", blocks[j]);
      verify(blocks[j], lengths[j], tagOf(blocks[j], 1), "all usable bytes written");
    }
    // At most an eighth may be wasted above 128 bytes, and no more than a page above a page.
    if (expectStave && size > 128) CHECK(lengths[0] - size <= size / 7 + 16 || lengths[0] - size < 4096, "%zu bytes take %zu", size, lengths[0]);
    for (unsigned j = 0; j < count; j++) free(blocks[j]);
  }
  CHECK(malloc_usable_size(NULL) == 0, "NULL is usable for %zu", malloc_usable_size(NULL));
}

/// free of small, large and huge blocks, also when it gives memory back to the system.
static void errnoKept(void) {
  for (unsigned i = 0; probeSize(i) <= (size_t)64 << 20; i += i < 1024 ? 13 : 1) {
    size_t size = probeSize(i);
    char *one = malloc(size), *two = aligned_alloc(4096, size);
    CHECK(one && two, "%zu bytes: %s", size, strerror(errno));
    if (size) one[0] = one[size - 1] = two[0] = two[size - 1] = 1;
    errno = 4242;
    free(one);
    CHECK(errno == 4242, "free of %zu bytes set errno to %d", size, errno);
    free(two);
    CHECK(errno == 4242, "free of %zu aligned bytes set errno to %d", size, errno);
  }
  errno = 4242;
  free(NULL);
  CHECK(errno == 4242, "free(NULL) set errno to %d", errno);
}

static void otherFrees(void) {
  void (*oldFree)(void *);
  void (*sizedFree)(void *, size_t);
  void (*alignedFree)(void *, size_t, size_t);
  *(void **)&oldFree = FUNCTION(cfree);
  *(void **)&sizedFree = FUNCTION(free_sized);
  *(void **)&alignedFree = FUNCTION(free_aligned_sized);
  if (expectStave) CHECK(oldFree && sizedFree && alignedFree, "cfree %d, free_sized %d, free_aligned_sized %d", !!oldFree, !!sizedFree, !!alignedFree);
  if (!oldFree || !provided("cfree")) oldFree = NULL;
  if (!oldFree || !sizedFree || !alignedFree) printf("not all of cfree, free_sized, free_aligned_sized are there; tried are those that are\n");
  if (oldFree) oldFree(NULL);
  if (sizedFree) sizedFree(NULL, 10);
  if (alignedFree) alignedFree(NULL, 64, 10);
  for (unsigned long round = 0; round < scaled(3); round++)
    for (unsigned i = 1; probeSize(i) <= 5u << 20; i++) {
      size_t size = probeSize(i), alignment = (size_t)8 << i % 12;
      void *made[] = {malloc(size), malloc(size), calloc(size, 1), realloc(malloc(i), size), aligned_alloc(alignment, size)};
      for (unsigned j = 0; j < sizeof made / sizeof *made; j++) CHECK(made[j], "%zu bytes: %s", size, strerror(errno));
      errno = 4242;
      (oldFree ? oldFree : free)(made[0]);
      for (unsigned j = 1; j < 4; j++)
        if (sizedFree) sizedFree(made[j], size);
        else free(made[j]);
      if (alignedFree) alignedFree(made[4], alignment, size);
      else free(made[4]);
      CHECK(errno == 4242, "a way to free set errno to %d at %zu bytes", errno, size);
    }
}

int main(int count, char **arguments) {
  begin(count, arguments);
  for (unsigned long round = scaled(1); round > 0; round--) neighbours();
  errnoKept();
  otherFrees();
  return 0;
}
