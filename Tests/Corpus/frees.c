// SPDX-License-Identifier: BSD-2-Clause
//
// What is freed is no block: an address that is not the heap's, one inside a block, or a block under another malloc type's name.

#include "../../Sources/StaveC/include/stave.h"
#include "corpus.h"

static char global[4096] __attribute__((aligned(4096)));

/// --how stack, global; resize-stack, resize-global: given to realloc.
static void foreign(void) {
  char local[256] __attribute__((aligned(16)));
  char *address = (char *)hide(strstr(plan.how, "stack") ? local + 64 : global + 64), *block = take();
  if (!plan.wrong) address = block;
  mistake(address);
  if (!strncmp(plan.how, "resize", 6)) address = (char *)realloc(hide(address), 2 * plan.size);
  else {
    free(hide(address));
    address = NULL;
  }
  made();
  free(plan.wrong ? block : address);
  leave();
}

/// --distance: from the block's start.
static void inside(void) {
  char *block = take();
  if (!plan.wrong) handed(give);
  mistake(block + plan.distance);
  if (plan.wrong) {
    taken = block + plan.distance;
    handed(give);
  }
  made();
  if (plan.wrong) free(block);
  leave();
}

static struct stave_type ours = {STAVE_TYPE_MAGIC, 1, "ours", "of the one", NULL, 0, {0}};
static struct stave_type theirs = {STAVE_TYPE_MAGIC, 1, "theirs", "of the other", NULL, 0, {0}};
#pragma weak stave_malloc
#pragma weak stave_free

static void giveTyped(void) { stave_free(taken, plan.wrong ? &theirs : &ours); }

static void typed(void) {
  if (!stave_malloc) impossible("there are no malloc types");
  neighbour(0);
  taken = (char *)stave_malloc(plan.size, &ours, STAVE_WAITOK);
  mistake(taken);
  handed(giveTyped);
  made();
  for (int i = 0; i < neighbours; i++) free(around[0][i]);
}

static const struct mistake mistakes[] = {{"foreign-free", foreign}, {"inside-free", inside}, {"other-type", typed}};

int main(int count, char **words) { return perform(count, words, mistakes, sizeof mistakes / sizeof *mistakes); }
