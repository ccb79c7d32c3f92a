// SPDX-License-Identifier: BSD-2-Clause
//
// The names that libstave.so puts in libc's place: malloc(3) and its relatives, operator new and delete. Argument checks
// that the standards ask for, errno, and nothing else; the work is StaveMalloc's.

#define _GNU_SOURCE
#include "stave_entry.h"
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static int is_power_of_two(size_t n) { return n != 0 && (n & (n - 1)) == 0; }
static size_t page_bytes(void) { return getauxval(AT_PAGESZ); }

// ---- C ----------------------------------------------------------------------------------------------------------------

// malloc, free, operator new and delete in their plain forms are Swift functions; the linker gives them these names, see
// aliases.ld.
EXPORT void *calloc(size_t count, size_t size) { return stave_calloc(count, size); }
EXPORT void *realloc(void *memory, size_t size) { return stave_realloc(memory, size); }
EXPORT size_t malloc_usable_size(void *memory) { return stave_usable_size(memory); }

EXPORT void *reallocarray(void *memory, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) { errno = ENOMEM; return NULL; }
  return stave_realloc(memory, bytes);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size) {
  if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0) return EINVAL;
  int saved = errno;
  void *memory = stave_aligned(alignment, size);
  errno = saved;
  if (memory == NULL) return ENOMEM;
  *result = memory;
  return 0;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
  if (!is_power_of_two(alignment)) { errno = EINVAL; return NULL; }
  return stave_aligned(alignment, size);
}

// memalign rounds a crooked alignment up, as glibc does.
EXPORT void *memalign(size_t alignment, size_t size) {
  if (alignment > SIZE_MAX / 2 + 1) { errno = EINVAL; return NULL; }
  size_t power = 16;
  while (power < alignment) power *= 2;
  return stave_aligned(power, size);
}

EXPORT void *valloc(size_t size) { return stave_aligned(page_bytes(), size); }

EXPORT void *pvalloc(size_t size) {
  size_t page = page_bytes(), rounded;
  if (__builtin_add_overflow(size, page - 1, &rounded)) { errno = ENOMEM; return NULL; }
  return stave_aligned(page, size == 0 ? page : rounded & ~(page - 1));
}

// ---- glibc's own ------------------------------------------------------------------------------------------------------

EXPORT int malloc_trim(size_t pad) { (void)pad; return stave_trim(); }
EXPORT int mallopt(int parameter, int value) { (void)parameter; (void)value; return 1; }
EXPORT void malloc_stats(void) { stave_print_zones(STDERR_FILENO); }

struct totals { size_t used, free, large_bytes, large_count, purgeable, mapped; };

EXPORT struct mallinfo2 mallinfo2(void) {
  struct totals totals = { 0 };
  stave_totals((size_t *)&totals);
  struct mallinfo2 info = { 0 };
  info.arena = totals.mapped;
  info.hblks = totals.large_count;
  info.hblkhd = totals.large_bytes;
  info.uordblks = totals.used;
  info.fordblks = totals.free + totals.purgeable;
  info.keepcost = totals.purgeable;
  return info;
}

static int clamp(size_t value) { return value > INT32_MAX ? INT32_MAX : (int)value; }

EXPORT struct mallinfo mallinfo(void) {
  struct mallinfo2 wide = mallinfo2();
  struct mallinfo info = { 0 };
  info.arena = clamp(wide.arena);
  info.hblks = clamp(wide.hblks);
  info.hblkhd = clamp(wide.hblkhd);
  info.uordblks = clamp(wide.uordblks);
  info.fordblks = clamp(wide.fordblks);
  info.keepcost = clamp(wide.keepcost);
  return info;
}

EXPORT int malloc_info(int options, FILE *file) {
  if (options != 0) return EINVAL;
  struct totals totals = { 0 };
  stave_totals((size_t *)&totals);
  fprintf(file,
          "<malloc version=\"stave-1\">\n<system type=\"current\" size=\"%zu\"/>\n<total type=\"used\" size=\"%zu\"/>\n"
          "<total type=\"free\" size=\"%zu\"/>\n<total type=\"large\" count=\"%zu\" size=\"%zu\"/>\n"
          "<total type=\"purgeable\" size=\"%zu\"/>\n</malloc>\n",
          totals.mapped, totals.used, totals.free, totals.large_count, totals.large_bytes, totals.purgeable);
  return 0;
}

// ---- C++ --------------------------------------------------------------------------------------------------------------

// operator new and operator delete are Swift functions (aliases.ld). The other forms do what the C++ library's would: arrays
// and sized forms call the plain ones, which the program may have replaced; the nothrow forms are ours as long as the
// plain one is. When memory runs out, the next operator in load order, which is the C++ library's, runs the new_handler and
// throws or returns null.

void *_Znwm(size_t size);
void _ZdlPv(void *memory);

typedef void *(*new_function)(size_t);
typedef void *(*nothrow_new_function)(size_t, const void *);
typedef void *(*aligned_new_function)(size_t, size_t);
typedef void *(*aligned_nothrow_new_function)(size_t, size_t, const void *);

void *stave_new_failed(size_t size) {
  new_function next = (new_function)dlsym(RTLD_NEXT, "_Znwm");
  if (next == NULL) __builtin_trap();
  return next(size);
}

EXPORT void *_Znam(size_t size) { return _Znwm(size); }

static void *nothrow_new(size_t size, const void *tag, const char *name) {
  if (_Znwm == stave_new) {
    void *memory = stave_malloc(size);
    if (__builtin_expect(memory != NULL, 1)) return memory;
  }
  nothrow_new_function next = (nothrow_new_function)dlsym(RTLD_NEXT, name);
  return next != NULL ? next(size, tag) : NULL;
}
EXPORT void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag) { return nothrow_new(size, tag, "_ZnwmRKSt9nothrow_t"); }
EXPORT void *_ZnamRKSt9nothrow_t(size_t size, const void *tag) { return nothrow_new(size, tag, "_ZnamRKSt9nothrow_t"); }

EXPORT void *_ZnwmSt11align_val_t(size_t size, size_t alignment) {
  void *memory = stave_aligned(alignment, size);
  if (__builtin_expect(memory != NULL, 1)) return memory;
  aligned_new_function next = (aligned_new_function)dlsym(RTLD_NEXT, "_ZnwmSt11align_val_t");
  return next != NULL ? next(size, alignment) : stave_new_failed(size);
}
EXPORT void *_ZnamSt11align_val_t(size_t size, size_t alignment) { return _ZnwmSt11align_val_t(size, alignment); }

EXPORT void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag) {
  void *memory = stave_aligned(alignment, size);
  if (__builtin_expect(memory != NULL, 1)) return memory;
  const char *name = "_ZnwmSt11align_val_tRKSt9nothrow_t";
  aligned_nothrow_new_function next = (aligned_nothrow_new_function)dlsym(RTLD_NEXT, name);
  return next != NULL ? next(size, alignment, tag) : NULL;
}
EXPORT void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag) {
  return _ZnwmSt11align_val_tRKSt9nothrow_t(size, alignment, tag);
}

EXPORT void _ZdaPv(void *memory) { _ZdlPv(memory); }
EXPORT void _ZdlPvm(void *memory, size_t size) { (void)size; _ZdlPv(memory); }
EXPORT void _ZdaPvm(void *memory, size_t size) { (void)size; _ZdaPv(memory); }
EXPORT void _ZdlPvRKSt9nothrow_t(void *memory, const void *tag) { (void)tag; _ZdlPv(memory); }
EXPORT void _ZdaPvRKSt9nothrow_t(void *memory, const void *tag) { (void)tag; _ZdaPv(memory); }
EXPORT void _ZdlPvSt11align_val_t(void *memory, size_t alignment) { (void)alignment; stave_free(memory); }
EXPORT void _ZdaPvSt11align_val_t(void *memory, size_t alignment) { _ZdlPvSt11align_val_t(memory, alignment); }
EXPORT void _ZdlPvmSt11align_val_t(void *memory, size_t size, size_t alignment) { (void)size; _ZdlPvSt11align_val_t(memory, alignment); }
EXPORT void _ZdaPvmSt11align_val_t(void *memory, size_t size, size_t alignment) { (void)size; _ZdaPvSt11align_val_t(memory, alignment); }
EXPORT void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *memory, size_t alignment, const void *tag) { (void)tag; _ZdlPvSt11align_val_t(memory, alignment); }
EXPORT void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *memory, size_t alignment, const void *tag) { (void)tag; _ZdaPvSt11align_val_t(memory, alignment); }

// ---- Start and end ----------------------------------------------------------------------------------------------------

// glibc's fork takes the lock of the list of streams after the handlers have run, and a thread that holds it may want a
// lock of ours: so that lock is taken first, as glibc does for its own malloc. It is recursive.
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

static void prepare_fork(void) {
  if (_IO_list_lock) _IO_list_lock();
  stave_prepare_fork();
}
static void parent_after_fork(void) {
  stave_parent_after_fork();
  if (_IO_list_unlock) _IO_list_unlock();
}
static void child_after_fork(void) {
  stave_child_after_fork();
  if (_IO_list_resetlock) _IO_list_resetlock();
}

// First among the atfork handlers to be registered, so the last to prepare and the first to be done.
__attribute__((constructor(101))) static void start(int count, char **arguments, char **environment) {
  (void)count; (void)arguments;
  stave_configure(getauxval(AT_SECURE) ? NULL : environment);
  pthread_atfork(prepare_fork, parent_after_fork, child_after_fork);
}

__attribute__((destructor(101))) static void finish(void) { stave_at_exit(); }
