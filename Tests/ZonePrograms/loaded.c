// SPDX-License-Identifier: BSD-2-Clause
//
// The library found by dlopen, closed and opened again: it stays, and so do its zones.

#include <dlfcn.h>
#include <stave.h>

#include "check.h"

typedef struct stave_zone *(*create)(const char *, size_t, stave_zone_ctor, stave_zone_dtor, stave_zone_init, stave_zone_fini, size_t, uint32_t);
typedef void *(*allocate)(struct stave_zone *, int);
typedef void (*release)(struct stave_zone *, void *);

static void *find(void *library, const char *name) {
  void *function = dlsym(library, name);
  CHECK(function != NULL);
  return function;
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(library != NULL);
  union { void *pointer; create function; } make = {find(library, "stave_zone_create")};
  union { void *pointer; allocate function; } get = {find(library, "stave_zone_alloc")};
  union { void *pointer; release function; } put = {find(library, "stave_zone_free")};
  CHECK(dlsym(library, "stave_root") == NULL && dlsym(library, "swift_retain") == NULL);
  struct stave_zone *zone = make.function("loaded", 200, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
  char *item = get.function(zone, STAVE_WAITOK | STAVE_ZERO);
  item[0] = 'x';
  for (int round = 0; round < 5; round++) {
    CHECK(dlclose(library) == 0);
    CHECK(item[0] == 'x');
    put.function(zone, get.function(zone, STAVE_WAITOK));
    CHECK((library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL)) != NULL);
    CHECK(find(library, "stave_zone_alloc") == get.pointer);
  }
  put.function(zone, item);
  puts("fine");
  return 0;
}
