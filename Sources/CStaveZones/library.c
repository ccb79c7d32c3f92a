// SPDX-License-Identifier: BSD-2-Clause
//
// What only libstavezones.so has: it knows which code is its own, so that the stack of a report begins with the caller's. In a program with
// the archive there is no telling.

#include "CPlatform.h"

extern const char image_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
extern const char image_end[] __asm__("etext") __attribute__((visibility("hidden")));

__attribute__((constructor)) static void find_own_code(void) { stave_set_own_code((uintptr_t)image_start, (uintptr_t)image_end); }
