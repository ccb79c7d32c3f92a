// SPDX-License-Identifier: BSD-2-Clause
//
// What only libstave.a has, since only a program can.

#include "stave_entry.h"

// A program's constructors run after those of its libraries; the functions in this section run before all.
__attribute__((section(".preinit_array"), used)) static void (*const before_all)(int, char **, char **) = stave_start;

// operators.c, which the archive does without, has the other ones. Nothing calls the first.
void *stave_new_failed(size_t size) { (void)size; return NULL; }
void stave_find_own_code(void) {}
