// SPDX-License-Identifier: BSD-2-Clause
//
// Beyond a block: behind its end or before its start, by writing or by reading, one byte at the distance or all bytes up to it (--how
// byte, run). The twin does the same within the block.

#include "corpus.h"

static volatile char sink;

static void touch(char *place, size_t count, int writes) {
  volatile char *byte = (volatile char *)hide(place);
  for (size_t i = 0; i < count; i++) {
    if (writes) byte[i] = 0x5a;
    else sink = byte[i];
  }
}

static void over(int writes) {
  char *block = take(), *end = block + plan.size;
  size_t count = isHow("run") ? plan.distance : 1, most = count < plan.size ? count : plan.size;
  mistake(block);
  if (!plan.wrong) touch(end - most, most, writes);
  else touch(end + plan.distance - count, count, writes);
  made();
  handed(give);
  leave();
}

static void under(int writes) {
  char *block = take();
  size_t count = isHow("run") ? plan.distance : 1, most = count < plan.size ? count : plan.size;
  mistake(block);
  // From the block outwards, as a loop that goes down does.
  for (size_t i = 0; i < (plan.wrong ? count : most); i++) touch(plan.wrong ? block - (plan.distance - count + 1 + i) : block + i, 1, writes);
  made();
  handed(give);
  leave();
}

static void overWrite(void) { over(1); }
static void overRead(void) { over(0); }
static void underWrite(void) { under(1); }
static void underRead(void) { under(0); }

static const struct mistake mistakes[] = {
    {"over-write", overWrite}, {"over-read", overRead}, {"under-write", underWrite}, {"under-read", underRead}};

int main(int count, char **words) { return perform(count, words, mistakes, sizeof mistakes / sizeof *mistakes); }
