// SPDX-License-Identifier: BSD-2-Clause
//
// stave_type_enter and stave_type_leave: what a thread allocates between them is of the type, by whatever function; nested scopes,
// other threads, frees elsewhere, fork, threads that end inside, types that end inside. How many blocks are of a type is what the
// library reports when the type ends.

#include "scenario.h"
#include "../../Sources/StaveC/include/stave.h"

// Not linked in, they are the preloaded library's.
#ifdef LINKED
#define enter stave_type_enter
#define leave stave_type_leave
#define end stave_type_unregister
#else
static struct stave_type *(*enter)(struct stave_type *);
static void (*leave)(struct stave_type *);
static void (*end)(struct stave_type *);
#endif

static struct stave_type first = {STAVE_TYPE_MAGIC, 1, "first", "", NULL, 0, {0}};
static struct stave_type second = {STAVE_TYPE_MAGIC, 1, "second", "", NULL, 0, {0}};
static struct stave_type never = {STAVE_TYPE_MAGIC, 1, "never", "", NULL, 0, {0}};

/// Ends `type`, and says how many blocks it had out by its report on standard error; 0 without one.
static unsigned long outAtEnd(struct stave_type *type) {
  int pipes[2], saved = dup(2);
  CHECK(saved >= 0 && pipe(pipes) == 0, "pipe: %s", strerror(errno));
  dup2(pipes[1], 2);
  end(type);
  dup2(saved, 2);
  close(saved);
  close(pipes[1]);
  char text[512];
  ssize_t length = read(pipes[0], text, sizeof text - 1);
  close(pipes[0]);
  if (length <= 0) return 0;
  text[length] = 0;
  const char *colon = strstr(text, type->name);
  CHECK(colon, "the report of %s is '%s'", type->name, text);
  return strtoul(colon + strlen(type->name) + 1, NULL, 10);
}

static void expectOut(struct stave_type *type, unsigned long expected, const char *what) {
  unsigned long found = outAtEnd(type);
  CHECK(found == expected, "%s: %lu blocks of %s are out, not %lu", what, found, type->name, expected);
}

enum { COUNT = 200 };
static void *held[COUNT];

static void takeSome(int from, int to) {
  for (int i = from; i < to; i++) held[i] = hide(malloc(40 + (size_t)i * 20));
}
static void freeSome(int from, int to) {
  for (int i = from; i < to; i++) free(held[i]);
}

static void everyFunction(void) {
  struct stave_type *before = enter(&first);
  CHECK(before == NULL, "outside there is no scope");
  void *aligned = NULL;
  int count = 0;
  held[count++] = hide(malloc(0));
  held[count++] = hide(malloc(30000));
  held[count++] = hide(malloc(3000000));
  held[count++] = hide(calloc(10, 10));
  held[count++] = hide(calloc(10, 100000));
  held[count++] = hide(realloc(NULL, 100));
  held[count++] = hide(reallocarray(NULL, 10, 10));
  held[count++] = hide(aligned_alloc(64, 640));
  held[count++] = hide(aligned_alloc(1 << 20, 1 << 20));
  held[count++] = hide(memalign(4096, 100));
  held[count++] = hide(valloc(100));
  CHECK(posix_memalign(&aligned, 256, 100) == 0, "posix_memalign");
  held[count++] = hide(aligned);
  held[count++] = hide(strdup("a text that libc copies"));
  leave(before);
  // Frees outside are charged back; a realloc that moves takes the block out of the type, one that stays does not.
  free(held[0]);
  held[1] = hide(realloc(held[1], 100000));
  held[3] = hide(realloc(held[3], 101));
  void *untyped = hide(malloc(100));
  expectOut(&first, (unsigned long)count - 2, "each function's block, less one freed and one that moved");
  for (int i = 1; i < count; i++) free(held[i]);
  free(untyped);
}

static void nested(void) {
  struct stave_type *outer = enter(&first);
  takeSome(0, 10);
  struct stave_type *middle = enter(&second);
  CHECK(middle == &first, "a scope gives back the one around it");
  takeSome(10, 30);
  struct stave_type *inner = enter(NULL);
  CHECK(inner == &second, "and so does one without a type");
  takeSome(30, 60);
  leave(inner);
  takeSome(60, 70);
  leave(middle);
  takeSome(70, 75);
  leave(outer);
  takeSome(75, 100);
  expectOut(&first, 15, "the outer scope, before and behind the inner");
  expectOut(&second, 30, "the inner scope, before and behind one without a type");
  freeSome(0, 100);
}

static void *otherThread(void *argument) {
  takeSome(100, 130);
  struct stave_type *before = enter(&second);
  CHECK(before == NULL, "a new thread is in no scope");
  takeSome(130, 137);
  // It ends in the scope.
  return argument;
}

static void threads(void) {
  struct stave_type *before = enter(&first);
  takeSome(0, 10);
  for (int round = 0; round < 2; round++) {
    joinThread(startThread(otherThread, NULL));
    if (round == 0) freeSome(100, 137);
  }
  takeSome(10, 20);
  leave(before);
  // The thread's own block of what libc keeps of it may be the creator's, so may be of its type.
  unsigned long found = outAtEnd(&first);
  CHECK(found >= 20 && found < 23, "%lu blocks of first are out, not 20", found);
  expectOut(&second, 7, "the scope of the other thread");
  freeSome(0, 20);
  freeSome(100, 137);
}

static void forked(void) {
  struct stave_type *before = enter(&first);
  takeSome(0, 10);
  pid_t child = fork();
  CHECK(child >= 0, "fork: %s", strerror(errno));
  if (child == 0) {
    alarm(60);
    takeSome(10, 20);
    struct stave_type *inside = enter(&second);
    CHECK(inside == &first, "a child is in its parent's scope");
    leave(inside);
    leave(before);
    takeSome(20, 30);
    unsigned long found = outAtEnd(&first);
    CHECK(found >= 20 && found < 23, "%lu blocks of first are out in the child, not 20", found);
    _exit(0);
  }
  expectSuccess(child, "the child");
  leave(before);
  unsigned long found = outAtEnd(&first);
  CHECK(found >= 10 && found < 13, "%lu blocks of first are out, not 10", found);
  freeSome(0, 10);
}

/// A type that ends while its scope is open is none from then on.
static void ended(void) {
  struct stave_type *before = enter(&never);
  takeSome(0, 10);
  expectOut(&never, 10, "before its end");
  takeSome(10, 20);
  leave(before);
  CHECK(never.internals == NULL, "what is allocated in the scope of a type that has ended does not make it new");
  freeSome(0, 20);
}

int main(int count, char **arguments) {
  begin(count, arguments);
#ifndef LINKED
  enter = (struct stave_type * (*)(struct stave_type *))dlsym(RTLD_DEFAULT, "stave_type_enter");
  leave = (void (*)(struct stave_type *))dlsym(RTLD_DEFAULT, "stave_type_leave");
  end = (void (*)(struct stave_type *))dlsym(RTLD_DEFAULT, "stave_type_unregister");
  if (!enter || !leave || !end) skip("this allocator has no malloc types");
#endif
  everyFunction();
  nested();
  threads();
  forked();
  ended();
  return 0;
}
