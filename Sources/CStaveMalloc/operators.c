// SPDX-License-Identifier: BSD-2-Clause
//
// C++'s operator new and delete beyond the plain ones, which are Swift functions (aliases.ld). The forms do what the C++
// library's would: arrays and sized forms call the plain ones, which the program may have replaced; the nothrow forms are
// ours as long as the plain one is. When memory runs out, the next operator in load order, which is the C++ library's, runs
// the new_handler and throws or returns null. In C for the calls to names that other modules may define.
//
// Not in libstave.a: in a program there may be no next operator to ask (a static C++ library's is left out by the linker when
// another is there), and the C++ library's own operators call malloc, aligned_alloc and free anyway.

#define _GNU_SOURCE
#include "CPlatform.h"
#include "stave_entry.h"
#include <dlfcn.h>
#include <stdlib.h>

void *_Znwm(size_t size);
void _ZdlPv(void *memory);

typedef void *(*new_function)(size_t);
typedef void *(*nothrow_new_function)(size_t, const void *);
typedef void *(*aligned_new_function)(size_t, size_t);
typedef void *(*aligned_nothrow_new_function)(size_t, size_t, const void *);

void *stave_new_failed(size_t size) {
  static new_function known;
  new_function next = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (next == NULL) {
    next = (new_function)dlsym(RTLD_NEXT, "_Znwm");
    __atomic_store_n(&known, next, __ATOMIC_RELAXED);
  }
  if (next != NULL) return next(size);
  // A C++ library that only a plug-in loads is not in the load order.
  void *memory = malloc(size);
  if (memory == NULL) __builtin_trap();
  return memory;
}

// Of the library; in a program there is no telling which code is ours.
extern const char image_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
extern const char image_end[] __asm__("etext") __attribute__((visibility("hidden")));
void stave_find_own_code(void) { stave_set_own_code((uintptr_t)image_start, (uintptr_t)image_end); }

STAVE_EXPORT void *_Znam(size_t size) { return _Znwm(size); }

static void *nothrow_new(size_t size, const void *tag, const char *name) {
  if (stave_is(_Znwm, stave_new)) {
    void *memory = stave_new_quietly(size);
    if (__builtin_expect(memory != NULL, 1)) return memory;
  }
  nothrow_new_function next = (nothrow_new_function)dlsym(RTLD_NEXT, name);
  return next != NULL ? next(size, tag) : NULL;
}
STAVE_EXPORT void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag) { return nothrow_new(size, tag, "_ZnwmRKSt9nothrow_t"); }
STAVE_EXPORT void *_ZnamRKSt9nothrow_t(size_t size, const void *tag) { return nothrow_new(size, tag, "_ZnamRKSt9nothrow_t"); }

STAVE_EXPORT void *_ZnwmSt11align_val_t(size_t size, size_t alignment) {
  void *memory = stave_new_aligned(alignment, size);
  if (__builtin_expect(memory != NULL, 1)) return memory;
  aligned_new_function next = (aligned_new_function)dlsym(RTLD_NEXT, "_ZnwmSt11align_val_t");
  return next != NULL ? next(size, alignment) : stave_new_failed(size);
}
STAVE_EXPORT void *_ZnamSt11align_val_t(size_t size, size_t alignment) { return _ZnwmSt11align_val_t(size, alignment); }

STAVE_EXPORT void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag) {
  void *memory = stave_new_aligned(alignment, size);
  if (__builtin_expect(memory != NULL, 1)) return memory;
  const char *name = "_ZnwmSt11align_val_tRKSt9nothrow_t";
  aligned_nothrow_new_function next = (aligned_nothrow_new_function)dlsym(RTLD_NEXT, name);
  return next != NULL ? next(size, alignment, tag) : NULL;
}
STAVE_EXPORT void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag) {
  return _ZnwmSt11align_val_tRKSt9nothrow_t(size, alignment, tag);
}

// A delete that says a size, while somebody looks; not where the program has a new of its own, which may ask for more.
static void *own_array(size_t size) __attribute__((alias("_Znam")));
static void *own_aligned(size_t size, size_t alignment) __attribute__((alias("_ZnwmSt11align_val_t")));
static void *own_aligned_array(size_t size, size_t alignment) __attribute__((alias("_ZnamSt11align_val_t")));
static void *own_quiet(size_t size, const void *tag) __attribute__((alias("_ZnwmRKSt9nothrow_t")));
static void *own_quiet_array(size_t size, const void *tag) __attribute__((alias("_ZnamRKSt9nothrow_t")));
static void *own_quiet_aligned(size_t size, size_t alignment, const void *tag) __attribute__((alias("_ZnwmSt11align_val_tRKSt9nothrow_t")));
static void *own_quiet_aligned_array(size_t size, size_t alignment, const void *tag) __attribute__((alias("_ZnamSt11align_val_tRKSt9nothrow_t")));
static _Bool isOursPlain(void) {
  return stave_is(_Znwm, stave_new) && stave_is(_Znam, own_array) && stave_is(_ZnwmRKSt9nothrow_t, own_quiet) && stave_is(_ZnamRKSt9nothrow_t, own_quiet_array);
}
static _Bool isOursAligned(void) {
  return stave_is(_ZnwmSt11align_val_t, own_aligned) && stave_is(_ZnamSt11align_val_t, own_aligned_array)
      && stave_is(_ZnwmSt11align_val_tRKSt9nothrow_t, own_quiet_aligned) && stave_is(_ZnamSt11align_val_tRKSt9nothrow_t, own_quiet_aligned_array);
}
#define SAID(memory, size, alignment, isOurs) \
  if (__builtin_expect(stave_hot()->claims != 0, 0) && stave_is(_ZdlPv, stave_libc_free) && isOurs()) stave_demand_size(memory, size, alignment)

STAVE_EXPORT void _ZdaPv(void *memory) { _ZdlPv(memory); }
STAVE_EXPORT void _ZdlPvm(void *memory, size_t size) { SAID(memory, size, 1, isOursPlain); _ZdlPv(memory); }
STAVE_EXPORT void _ZdaPvm(void *memory, size_t size) { SAID(memory, size, 1, isOursPlain); _ZdaPv(memory); }
STAVE_EXPORT void _ZdlPvRKSt9nothrow_t(void *memory, const void *tag) { (void)tag; _ZdlPv(memory); }
STAVE_EXPORT void _ZdaPvRKSt9nothrow_t(void *memory, const void *tag) { (void)tag; _ZdaPv(memory); }
STAVE_EXPORT void _ZdlPvSt11align_val_t(void *memory, size_t alignment) { (void)alignment; stave_libc_free(memory); }
STAVE_EXPORT void _ZdaPvSt11align_val_t(void *memory, size_t alignment) { _ZdlPvSt11align_val_t(memory, alignment); }
STAVE_EXPORT void _ZdlPvmSt11align_val_t(void *memory, size_t size, size_t alignment) { SAID(memory, size, alignment, isOursAligned); _ZdlPvSt11align_val_t(memory, alignment); }
STAVE_EXPORT void _ZdaPvmSt11align_val_t(void *memory, size_t size, size_t alignment) { SAID(memory, size, alignment, isOursAligned); _ZdaPvSt11align_val_t(memory, alignment); }
STAVE_EXPORT void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *memory, size_t alignment, const void *tag) { (void)tag; _ZdlPvSt11align_val_t(memory, alignment); }
STAVE_EXPORT void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *memory, size_t alignment, const void *tag) { (void)tag; _ZdaPvSt11align_val_t(memory, alignment); }
