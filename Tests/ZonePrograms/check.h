// SPDX-License-Identifier: BSD-2-Clause
//
// What the programs here share: a check that ends the program and says where, and numbers by lot.

#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline void failed(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: expected %s\n", file, line, what);
  _Exit(1);
}
#define CHECK(condition) ((condition) ? (void)0 : failed(__FILE__, __LINE__, #condition))

static uint64_t lot = 1;

// Below `bound`.
static inline uint64_t draw(uint64_t bound) {
  lot ^= lot << 13;
  lot ^= lot >> 7;
  lot ^= lot << 17;
  return lot % bound;
}

#endif
