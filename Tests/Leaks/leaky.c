// SPDX-License-Identifier: BSD-2-Clause
//
// Loses blocks of many kinds, and keeps others in every place where a program can keep an address; then stops itself. Sizes tell the
// kinds apart. With the argument "twin" nothing is lost: whatever would be has its address in a variable. What is kept is in its other
// form (`~`) everywhere but in the one place meant.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define APART __attribute__((noinline))

// Not static, or the compiler would see that nobody reads them.
void *saved[64];
static int savedCount, isTwin;
static volatile int ready;
// Or a compiler may unroll a short loop, and each of its calls be a place of its own.
static volatile int three = 3, ten = 10;

// In the twin, the one that leads to all the others of a loss.
static void lose(void *block) { if (isTwin) saved[savedCount++] = block; }

static void **make(size_t size) { return memset(malloc(size), 0, size); }

// 3 of 100 bytes.
APART static void losePointers(void) { for (int i = 0; i < three; i++) lose(make(100)); }

// A list of 10 with 300 bytes each: the first is lost, the others by way of it.
APART static void loseList(void) {
  void **first = 0;
  for (int i = 0; i < ten; i++) {
    void **node = make(300);
    node[1] = first;
    first = node;
  }
  lose(first);
}

// A ring of 5 with 500 bytes each.
APART static void loseRing(void) {
  void **first = make(500), **last = first;
  for (int i = 0; i < 4; i++) {
    void **node = make(500);
    node[2] = last;
    last = node;
  }
  first[2] = last;
  lose(last);
}

// One large block that leads to 6 of 700 bytes, to their middles.
APART static void loseLarge(void) {
  void **table = make(300000);
  for (int i = 0; i < 6; i++) table[30000 + i] = (char *)make(700) + 120;
  lose(table);
}

// A lost tree whose leaf another lost block leads to as well: 2 of 1200 bytes, and one of 1500.
APART static void loseShared(void) {
  void **one = make(1200), **other = make(1200), **leaf = make(1500);
  one[0] = leaf;
  other[0] = leaf;
  lose(one);
  lose(other);
}

// Each 2000 bytes and more, with a further block of 2600 that only it leads to.
static void **chain(size_t size) {
  void **block = make(size);
  block[3] = make(2600);
  return block;
}

void *global;
void *data = &data;
_Thread_local void *local;

APART static void keep(void) {
  global = chain(2000);
  data = (void *)((uintptr_t)chain(2001) | (uintptr_t)0x8a01 << 48);
  void **pages = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pages[99999] = chain(2002);
  mprotect(pages, 1 << 20, PROT_READ);
  // Mostly untouched: looking must not change that.
  void **shared = mmap(0, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  shared[77] = chain(2003);
  // In a large block, in what is left of one after it was made smaller, and moved.
  void **large = make(3000000);
  large[250] = chain(2004);
  saved[savedCount++] = realloc(large, 2500);
  // By the middle alone: 1 of 4000 bytes, which leads to one of 2600.
  saved[savedCount++] = (char *)chain(4000) + 80;
  // Just behind the beginning, as C++ keeps arrays.
  saved[savedCount++] = (char *)chain(2005) + 8;
  // Not out: nobody misses it.
  free(make(100));
  free(make(300000));
}

// Nothing of the work is left on the stack and in registers that nobody uses.
APART static void scrub(void) {
  char room[100000];
  memset(room, 0, sizeof room);
  __asm__ volatile("" : : "r"(room) : "memory");
#ifdef __x86_64__
  __asm__ volatile(
    "pxor %%xmm0,%%xmm0; pxor %%xmm1,%%xmm1; pxor %%xmm2,%%xmm2; pxor %%xmm3,%%xmm3; pxor %%xmm4,%%xmm4; pxor %%xmm5,%%xmm5; pxor %%xmm6,%%xmm6; pxor %%xmm7,%%xmm7;"
    "pxor %%xmm8,%%xmm8; pxor %%xmm9,%%xmm9; pxor %%xmm10,%%xmm10; pxor %%xmm11,%%xmm11; pxor %%xmm12,%%xmm12; pxor %%xmm13,%%xmm13; pxor %%xmm14,%%xmm14; pxor %%xmm15,%%xmm15"
    : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory");
#endif
}

APART static uintptr_t hide(size_t size) { return ~(uintptr_t)chain(size); }

static void rest(void) {
  __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
  for (;;) pause();
}

static void *onStack(void *none) {
  void *volatile mine = (void *)~hide(2006);
  scrub();
  rest();
  return mine ? none : 0;
}

static void *inVariable(void *none) {
  local = (void *)~hide(2007);
  scrub();
  rest();
  return none;
}

// Keeps a block below the stack that it runs on, in the same mapping.
static void *belowStack(void *none) {
  scrub();
  rest();
  return none;
}

static void runBelowStack(void) {
  pthread_t thread;
  pthread_attr_t attributes;
  char *memory = mmap(0, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *(void **)memory = chain(2009);
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, memory + (1 << 20), 1 << 20);
  pthread_create(&thread, &attributes, belowStack, 0);
}

static void *inRegister(void *none) {
#ifdef __x86_64__
  uintptr_t hidden = hide(2008);
  scrub();
  __asm__ volatile(
    "mov %0, %%r12; xor %0, %0; not %%r12; lock incl %1; 1: mov $34, %%eax; syscall; jmp 1b"
    : "+r"(hidden), "+m"(ready) : : "rax", "rcx", "r11", "r12", "memory");
#else
  saved[savedCount++] = (void *)~hide(2008);
  rest();
#endif
  return none;
}

int main(int count, char **words) {
  isTwin = count > 1 && strcmp(words[1], "twin") == 0;
  losePointers();
  loseList();
  loseRing();
  loseLarge();
  loseShared();
  keep();
  pthread_t thread;
  pthread_create(&thread, 0, onStack, 0);
  pthread_create(&thread, 0, inVariable, 0);
  pthread_create(&thread, 0, inRegister, 0);
  runBelowStack();
  while (ready < 4) usleep(1000);
  scrub();
  raise(SIGSTOP);
  return 0;
}
