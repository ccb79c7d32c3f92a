// SPDX-License-Identifier: BSD-2-Clause
//
// Under MemGuard: mistakes with guarded blocks, each made by a process of its own, which must end in a report. To be run with memguard:1 or
// as the role wants it; the runner (PreloadTests/GuardTests) knows what each role must end in. The role "fine" ends well.

#include "guards.h"

__attribute__((noinline)) static char peek(volatile char *place) { return *place; }

static void overflowWrite(void) { poke(block(100) + 112); }
static void overflowRead(void) { peek(block(64) + 64); }
static void overflowFar(void) { poke(block(40) + 48 + 4000); }
static void overflowLarge(void) { poke(block(300000) + 300000); }
static void overflowSlack(void) {
  char *it = block(100);
  it[100] = 0;
  free(hide(it));
}
static void overflowSlackRealloc(void) {
  char *it = block(100);
  it[111] = 7;
  if (hide(realloc(hide(it), hideSize(200)))) return;
}
static void overflowExact(void) { peek(block(101) + 101); }
static void underflowWrite(void) { poke(block(100) - 1); }
static void underflowRead(void) { peek(block(5000) - 4096); }
static void underflowFound(void) {
  char *it = block(100);
  it[-3] = 1;
  free(hide(it));
}
static void afterFreeRead(void) {
  char *it = block(100);
  free(it);
  peek((char *)hide(it) + 50);
}
static void afterFreeWrite(void) {
  char *it = block(70000);
  free(it);
  poke((char *)hide(it) + 60000);
}
static void afterRealloc(void) {
  char *it = block(100), *more = hide(realloc(it, hideSize(101)));
  CHECK(more && more != (char *)hide(it), "a guarded block stayed in place");
  poke((char *)hide(it) + 1);
}
static void twice(void) {
  char *it = block(100);
  free(it);
  free(hide(it));
}
static void inside(void) { free(block(100) + 16); }
static void reallocFreed(void) {
  char *it = block(100);
  free(it);
  if (realloc(hide(it), hideSize(200))) return;
}
static void zeroed(void) {
  char *it = hide(calloc(10, 16));
  for (int i = 0; i < 160; i++) CHECK(it[i] == 0, "byte %d is %d", i, it[i]);
  peek(it + 160);
}
static void aligned(void) {
  char *it = hide(aligned_alloc(1024, 3072));
  CHECK((uintptr_t)it % 1024 == 0, "%p", (void *)it);
  poke(it + 3072);
}

static void *freer(void *it) {
  free(it);
  return NULL;
}
static void *writer(void *it) {
  poke(it);
  return NULL;
}
static void inThread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  CHECK(!pthread_create(&thread, NULL, body, argument), "a thread");
  pthread_join(thread, NULL);
}
static void threads(void) {
  char *it = block(500);
  inThread(freer, it);
  inThread(writer, hide(it + 3));
}

/// A child's guards are its parent's, and what it frees is its own affair.
static void forked(void) {
  char *freed = block(100), *kept = block(100);
  free(freed);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 100; i++) free(block((size_t)i * 50 + 1));
    free(kept);
    poke((char *)hide(freed) + 2);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "the child ended with %x", status);
  CHECK(peek(kept + 99) == 0x11, "the child's free reached its parent");
  free(kept);
  peek(hide(kept));
}

static char *narrowPlace;
static void pokeNarrow(void) { poke(narrowPlace); }
/// On a stack that a signal's frame does not fit on.
static void narrow(void) {
  static char room[65536];
  static ucontext_t first, second;
  stack_t other = {.ss_sp = room, .ss_size = sizeof room};
  CHECK(!sigaltstack(&other, NULL), "sigaltstack: %s", strerror(errno));
  char *freed = block(100);
  free(freed);
  char *stack = mmap(NULL, 20 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(stack != MAP_FAILED && !mprotect(stack, 16 * 4096, PROT_NONE), "a stack");
  getcontext(&second);
  second.uc_stack.ss_sp = stack + 16 * 4096;
  second.uc_stack.ss_size = 2000;
  second.uc_link = &first;
  narrowPlace = hide(freed);
  makecontext(&second, pokeNarrow, 0);
  swapcontext(&first, &second);
}

// MARK: What ends well

static void fine(void) {
  Random random = randomFrom(1);
  enum { count = 300 };
  static char *held[count];
  static size_t sizes[count];
  for (unsigned long i = 0; i < scaled(20000); i++) {
    unsigned at = (unsigned)below(&random, count);
    if (held[at]) {
      verify(held[at], sizes[at], tagOf(held[at], 3), "before its end");
      CHECK(malloc_usable_size(held[at]) >= sizes[at], "usable size");
    }
    size_t size = randomSize(&random, 100000);
    if (held[at] && below(&random, 3) == 0 && size > 0) {
      size_t kept = sizes[at] < size ? sizes[at] : size;
      uint64_t tag = tagOf(held[at], 3);
      held[at] = realloc(held[at], size);
      CHECK(held[at], "realloc");
      verifyKept(held[at], sizes[at], kept, tag, "after realloc");
    } else {
      free(held[at]);
      held[at] = malloc(size);
    }
    sizes[at] = size;
    paint(held[at], size, tagOf(held[at], 3));
  }
}

static const struct guardRole roles[] = {
    {"overflow-write", overflowWrite}, {"overflow-read", overflowRead}, {"overflow-far", overflowFar}, {"overflow-large", overflowLarge},
    {"overflow-slack", overflowSlack}, {"overflow-slack-realloc", overflowSlackRealloc}, {"overflow-exact", overflowExact},
    {"underflow-write", underflowWrite}, {"underflow-read", underflowRead}, {"underflow-found", underflowFound},
    {"after-free-read", afterFreeRead}, {"after-free-write", afterFreeWrite}, {"after-realloc", afterRealloc}, {"double-free", twice},
    {"free-inside", inside}, {"realloc-freed", reallocFreed}, {"zeroed", zeroed}, {"aligned", aligned}, {"threads", threads}, {"fork", forked},
    {"narrow", narrow}, {"fine", fine}, {0, 0},
};

int main(int count, char **arguments) { return playRole(count, arguments, roles); }
