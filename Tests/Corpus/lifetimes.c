// SPDX-License-Identifier: BSD-2-Clause
//
// A block is used after its end, ended twice, read before it was written, or never ended.

#include "corpus.h"

static volatile int sink;
static char *grown;

/// --how first, last: which four bytes of it, since a lone one may be what is written there already; later: the first, after others came
/// and went.
static void afterFree(int writes) {
  char *block = take();
  volatile int *place = (volatile int *)(isHow("last") ? block + plan.size - sizeof *place : block);
  if (plan.wrong) handed(give);
  if (isHow("later")) pass();
  mistake(block);
  place = (volatile int *)hide((void *)place);
  if (writes) *place = 0x5a5a5a5a;
  else sink = *place;
  made();
  if (!plan.wrong) handed(give);
  pass();
  leave();
}
static void afterFreeWrite(void) { afterFree(1); }
static void afterFreeRead(void) { afterFree(0); }

static void grow(void) { grown = (char *)realloc(hide(taken), plan.size * 5 + 100); }
static void giveGrown(void) { free(grown); }

/// --how read, write: the old address, after the block has moved.
static void afterRealloc(void) {
  char *block = take();
  handed(grow);
  if (!grown) abort();
  if (grown == block) impossible("the block has not moved");
  mistake(block);
  volatile char *place = (volatile char *)hide(plan.wrong ? block : grown);
  if (isHow("write")) *place = 0x5a;
  else sink = *place;
  made();
  giveGrown();
  pass();
  leave();
}

/// --how now: at once; later: others are freed in between, none of which has it handed out again.
static void doubleFree(void) {
  char *block = take();
  handed(give);
  if (isHow("later")) leave();
  mistake(block);
  if (plan.wrong) give();
  made();
  if (!isHow("later")) leave();
  pass();
}

/// Of memory that was somebody else's before.
static void recycledRead(void) {
  free(take());
  char *block = (char *)hide(malloc(plan.size));
  if (!plan.wrong) memset(block, 0x33, plan.size);
  mistake(block);
  if (*(volatile char *)hide(block + plan.size / 2) == 0x22) say("what was there before is still there\n");
  made();
  free(block);
  leave();
}

/// Leaves nothing of the address where a search for it would look.
static __attribute__((noinline)) void forget(void) {
  volatile char room[4096];
  memset((char *)room, 0, sizeof room);
  taken = NULL;
}

static void leak(void) {
  mistake(take());
  if (!plan.wrong) give();
  forget();
  made();
  leave();
  memset(around, 0, sizeof around);
}

static const struct mistake mistakes[] = {
    {"after-free-write", afterFreeWrite}, {"after-free-read", afterFreeRead}, {"after-realloc", afterRealloc},
    {"double-free", doubleFree}, {"recycled-read", recycledRead}, {"leak", leak}};

int main(int count, char **words) { return perform(count, words, mistakes, sizeof mistakes / sizeof *mistakes); }
