// SPDX-License-Identifier: BSD-2-Clause
//
// What Diagnostics needs of the loader and of the thread: the object that an address lies in, without the loader's lock; where
// the thread's stack ends; and the storage of what has been learnt. Nothing here allocates or waits.

#ifndef STAVE_CALLERS_H
#define STAVE_CALLERS_H

#include "stave_storage.h"

enum {
  STAVE_RULE_BITS = 12,           // 4096 rules: 32 KiB
  STAVE_MODULE_BITS = 8,          // 256 modules: 2 KiB
};

// See Diagnostics/RuleCache and Diagnostics/ForwardingList for the words of the two tables.
struct stave_callers {
  uint64_t generation;            // of what is stored; changes with every flush
  const unsigned char *_Nullable skip;
  uint64_t skip_count;
  uint64_t module[1 << STAVE_MODULE_BITS];
  uint64_t rule[1 << STAVE_RULE_BITS];
};
extern struct stave_callers stave_callers_storage STAVE_HIDDEN;
static inline struct stave_callers *_Nonnull stave_callers(void) { return &stave_callers_storage; }
// In Swift, an array in a structure is a tuple.
static inline uint64_t *_Nonnull stave_rule_words(struct stave_callers *_Nonnull callers) { return callers->rule; }
static inline uint64_t *_Nonnull stave_module_words(struct stave_callers *_Nonnull callers) { return callers->module; }

static inline void stave_add64(uint64_t *_Nonnull where, uint64_t value) { __atomic_fetch_add(where, value, __ATOMIC_SEQ_CST); }

// The beginnings of the structures that <dlfcn.h> (since glibc 2.35) and <link.h> define, which every caller may not include.
struct stave_link_map { uintptr_t bias; const char *_Nullable name; };
struct stave_object {
  unsigned long long flags;
  uintptr_t start, end;           // of the mapping
  const struct stave_link_map *_Nullable link_map;
  uintptr_t frame_header;         // .eh_frame_hdr; 0 if there is none
  unsigned long long reserved[9];
};

#if defined(__x86_64__)
extern int stave_dl_find_object(uintptr_t address, struct stave_object *_Nonnull object) __asm__("_dl_find_object") __attribute__((weak));
static inline _Bool stave_has_find_object(void) { return &stave_dl_find_object != NULL; }
static inline _Bool stave_find_object(uintptr_t address, struct stave_object *_Nonnull object) {
  return stave_has_find_object() && stave_dl_find_object(address, object) == 0;
}
#else
static inline _Bool stave_has_find_object(void) { return 0; }
static inline _Bool stave_find_object(uintptr_t address, struct stave_object *_Nonnull object) { (void)address; (void)object; return 0; }
#endif

// What the loader tells debuggers of itself (<link.h>): whether it is adding or taking away libraries, for each namespace.
struct stave_loader {
  int version;                    // 2 and more: `next` is there
  const void *_Nullable map;
  uintptr_t stop;
  int state;                      // 0 nothing, 1 adding, 2 taking away
  uintptr_t base;
  const struct stave_loader *_Nullable next;
};
extern const struct stave_loader stave_loader_storage __asm__("_r_debug") __attribute__((weak));
// False if it certainly is at rest, or only adds where `also_adding` is 0. Before glibc 2.35 it does not tell of all namespaces.
static inline _Bool stave_loader_may_change(_Bool also_adding) {
  if (&stave_loader_storage == NULL || !stave_has_find_object()) return 1;
  const struct stave_loader *one = &stave_loader_storage;
  int version = __atomic_load_n(&one->version, __ATOMIC_ACQUIRE);
  if (version < 1) return 1;
  while (one != NULL) {
    int state = __atomic_load_n(&one->state, __ATOMIC_RELAXED);
    if (state == 2 || (state != 0 && also_adding)) return 1;
    one = version < 2 ? NULL : __atomic_load_n(&one->next, __ATOMIC_ACQUIRE);
  }
  return 0;
}

// Where the first thread's stack begins. At the beginning of all others' is what the thread pointer points to.
extern const uintptr_t stave_libc_stack_end __asm__("__libc_stack_end") __attribute__((weak));
static inline uintptr_t stave_first_stack_end(void) { return &stave_libc_stack_end != NULL ? stave_libc_stack_end : 0; }
// The program's name: as it was at the start, where that has been kept. glibc's lies in the program's arguments, and programs write
// over them to say in ps what they do.
extern const char *_Nullable const stave_libc_program_name __asm__("program_invocation_short_name") __attribute__((weak));
extern char stave_kept_program_name[32];
static inline const char *_Nullable stave_program_name(void) {
  if (stave_kept_program_name[0]) return stave_kept_program_name;
  return &stave_libc_program_name != NULL ? stave_libc_program_name : NULL;
}
// The last part of the path, as much of it as a name keeps.
static inline void stave_keep_program_name(const char *_Nonnull path) {
  const char *name = path;
  for (const char *at = path; *at; at++) if (*at == '/') name = at + 1;
  for (size_t i = 0; i + 1 < sizeof stave_kept_program_name && name[i]; i++) stave_kept_program_name[i] = name[i];
}
static inline uintptr_t stave_thread_pointer(void) { return (uintptr_t)__builtin_thread_pointer(); }

#endif
