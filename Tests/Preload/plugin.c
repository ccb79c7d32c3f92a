// SPDX-License-Identifier: BSD-2-Clause
//
// The library that `plugins` loads: it allocates when it comes and when it goes, has a thread-local word that makes libc
// allocate too, and takes and gives blocks across the boundary.

#include <stdlib.h>
#include <string.h>

enum { pieces = 30 };
static void *ours[pieces];
static __thread char *perThread;

__attribute__((constructor)) static void arrive(void) {
  for (int i = 0; i < pieces; i++) {
    ours[i] = malloc((size_t)i * i * 50);
    if (!ours[i]) abort();
    memset(ours[i], i, (size_t)i * i * 50);
  }
}

__attribute__((destructor)) static void leave(void) {
  for (int i = 0; i < pieces; i++) {
    for (int at = 0; at < i * i * 50; at += 64)
      if (((char *)ours[i])[at] != (char)i) abort();
    free(ours[i]);
  }
  char *last = calloc(1, 3000);
  if (!last || last[2999]) abort();
  free(last);
}

char *pluginGive(size_t size) {
  if (!perThread) perThread = malloc(32);
  free(perThread);
  perThread = NULL;
  return malloc(size);
}

char *pluginGrow(char *block, size_t size) { return realloc(block, size); }

void pluginTake(char *block) { free(block); }
