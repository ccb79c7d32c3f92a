// SPDX-License-Identifier: BSD-2-Clause
//
// stave.h's functions as this process has them: for programs that work with Stave and without. Whoever calls the functions by name
// must link libstave.so or libstave.a; whoever asks here finds them linked in, preloaded, or not at all.

#ifndef STAVE_INTERFACE_H
#define STAVE_INTERFACE_H

#include <stdbool.h>
#include "stave.h"

#ifdef __cplusplus
extern "C" {
#endif

struct stave_interface {
  void (*STAVE_NULLABLE type_register)(struct stave_type *STAVE_NULLABLE type);
  void (*STAVE_NULLABLE type_unregister)(struct stave_type *STAVE_NULLABLE type);
  struct stave_type *STAVE_NULLABLE (*STAVE_NULLABLE type_enter)(struct stave_type *STAVE_NULLABLE type);
  void (*STAVE_NULLABLE type_leave)(struct stave_type *STAVE_NULLABLE before);
  void *STAVE_NULLABLE (*STAVE_NULLABLE malloc)(size_t size, struct stave_type *STAVE_NULLABLE type, int flags);
  void *STAVE_NULLABLE (*STAVE_NULLABLE realloc)(void *STAVE_NULLABLE block, size_t size, struct stave_type *STAVE_NULLABLE type, int flags);
  void (*STAVE_NULLABLE free)(void *STAVE_NULLABLE block, struct stave_type *STAVE_NULLABLE type);
};

// False, and `interface` as it was, where this process has no Stave, or one that lacks a function. A look at the loader's tables
// under its lock, each time: keep the answer, which does not change.
bool stave_find_interface(struct stave_interface *STAVE_NULLABLE interface);

#ifdef __cplusplus
}
#endif

#endif
