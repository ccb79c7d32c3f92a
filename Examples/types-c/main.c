// SPDX-License-Identifier: BSD-2-Clause
//
// Memory with malloc types: a program that keeps names and numbers, and can tell at any time who holds what.
//
//     cc main.c -I../../build/include -u malloc ../../build/libstave.a -o types      # or, with Stave installed, -lstave
//     ./types wait & stave types $!

#include <stave.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

STAVE_TYPE_DEFINE(M_NAMES, "names", "what people are called");
STAVE_TYPE_DEFINE(M_NUMBERS, "numbers", "tables of numbers");

enum { COUNT = 1000 };

int main(int count, char *arguments[]) {
  (void)arguments;
  char *names[COUNT];
  for (int i = 0; i < COUNT; i++) {
    names[i] = stave_malloc(40, M_NAMES, STAVE_WAITOK);
    snprintf(names[i], 40, "name %d", i);
  }
  int *numbers = stave_mallocarray(50000, sizeof *numbers, M_NUMBERS, STAVE_WAITOK | STAVE_ZERO);
  int *more = stave_realloc(numbers, 100000 * sizeof *numbers, M_NUMBERS, STAVE_NOWAIT);
  if (more == NULL) return 1;
  numbers = more;
  for (int i = 0; i < 100000; i += 1000) numbers[i] = (int)strlen(names[i / 100]);
  if (stave_mallocarray((size_t)-1, 2, M_NUMBERS, STAVE_NOWAIT) != NULL || stave_usable_size(names[0]) < 40) return 1;
  // A look from outside, while everything is there.
  if (count > 1) pause();
  for (int i = 0; i < COUNT; i++) stave_free(names[i], M_NAMES);
  stave_free(numbers, M_NUMBERS);
  stave_type_unregister(M_NAMES);
  stave_type_unregister(M_NUMBERS);
  puts("nothing is out");
  return 0;
}
