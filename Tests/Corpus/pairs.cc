// SPDX-License-Identifier: BSD-2-Clause
//
// A block that ends in another way than it began: with another size than it has, or by the wrong one of free, delete and delete[].

#include <new>

#include "corpus.h"

static size_t said;

static void giveSized() {
  if (isHow("array")) operator delete[](hide(taken), said);
  else operator delete(hide(taken), said);
}

/// --how smaller, larger, array (larger, of an array).
static void sized() {
  neighbour(0);
  taken = (char *)hide(isHow("array") ? operator new[](plan.size) : operator new(plan.size));
  memset(taken, 0x22, plan.size);
  said = !plan.wrong ? plan.size : isHow("smaller") ? plan.size / 2 : plan.size * 2 + 16;
  mistake(taken);
  handed(giveSized);
  made();
  for (int i = 0; i < neighbours; i++) free(around[0][i]);
}

// Each in a function of its own: clang 21 makes one call after the other of a choice between delete and delete[].
__attribute__((noinline)) static void byFree(void *block) { free(hide(block)); }
__attribute__((noinline)) static void byDelete(void *block) { operator delete(hide(block)); }
__attribute__((noinline)) static void byDeleteArray(void *block) { operator delete[](hide(block)); }

static void giveOtherwise() {
  void (*rightly)(void *) = isHow("malloc-delete") ? byFree : isHow("new-free") ? byDelete : byDeleteArray;
  void (*wrongly)(void *) = isHow("new-free") || isHow("array-free") ? byFree : byDelete;
  (plan.wrong ? wrongly : rightly)(taken);
}

/// --how malloc-delete, new-free, array-free, array-delete: how it began, and how it ends.
static void mixed() {
  neighbour(0);
  taken = (char *)hide(isHow("malloc-delete") ? malloc(plan.size) : isHow("new-free") ? operator new(plan.size) : operator new[](plan.size));
  memset(taken, 0x22, plan.size);
  mistake(taken);
  handed(giveOtherwise);
  made();
  for (int i = 0; i < neighbours; i++) free(around[0][i]);
}

static const struct mistake mistakes[] = {{"sized-delete", sized}, {"other-pair", mixed}};

int main(int count, char **words) { return perform(count, words, mistakes, sizeof mistakes / sizeof *mistakes); }
