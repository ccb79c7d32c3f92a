// SPDX-License-Identifier: BSD-2-Clause
//
// The look for stave.h's functions: first what the linker found, as in a program with libstave.a, whose names the loader does not
// know; then what the loader has, as from a preloaded library. A fully static program has no loader to ask.

#include "stave_interface.h"
#include <dlfcn.h>

#pragma weak dlsym
#pragma weak stave_type_register
#pragma weak stave_type_unregister
#pragma weak stave_type_enter
#pragma weak stave_type_leave
#pragma weak stave_malloc
#pragma weak stave_realloc
#pragma weak stave_free

// All libraries in load order: RTLD_DEFAULT, which is not defined everywhere.
static void *loaded(const char *name) { return dlsym != NULL ? dlsym(NULL, name) : NULL; }

#define FIND(name) (*(void **)&found.name = stave_##name != NULL ? (void *)stave_##name : loaded("stave_" #name))

bool stave_find_interface(struct stave_interface *interface) {
  struct stave_interface found;
  _Bool all = FIND(type_register) && FIND(type_unregister) && FIND(type_enter) && FIND(type_leave) && FIND(malloc) && FIND(realloc) && FIND(free);
  if (all) *interface = found;
  return all;
}
