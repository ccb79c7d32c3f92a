// SPDX-License-Identifier: BSD-2-Clause
//
// bignum: arithmetic in which every result is a new small block, as in interpreters and functional programs. Powers of
// 7 in 32-bit digits are multiplied up and added into a short history, so that a few hundred numbers of 8 to 200 bytes
// are alive at any time, in the order of a queue.

#include "workload.h"
#include <string.h>

enum { history = 200, mostDigits = 48 };
typedef struct { uint32_t length, digits[]; } Number;

static Number *number(uint32_t length) {
  Number *n = malloc(sizeof(Number) + length * sizeof(uint32_t));
  if (!n) die("out of memory");
  n->length = length;
  return n;
}

static Number *times(const Number *a, uint32_t factor) {
  uint64_t carry = 0;
  uint32_t top = a->digits[a->length - 1];
  Number *n = number(a->length + (((uint64_t)top * factor + factor) >> 32 != 0));
  for (uint32_t i = 0; i < a->length; i++) {
    carry += (uint64_t)a->digits[i] * factor;
    n->digits[i] = (uint32_t)carry;
    carry >>= 32;
  }
  if (n->length > a->length) n->digits[a->length] = (uint32_t)carry;
  return n;
}

static Number *plus(const Number *a, const Number *b) {
  if (a->length < b->length) return plus(b, a);
  uint64_t carry = 0;
  Number *n = number(a->length);
  for (uint32_t i = 0; i < a->length; i++) {
    carry += (uint64_t)a->digits[i] + (i < b->length ? b->digits[i] : 0);
    n->digits[i] = (uint32_t)carry;
    carry >>= 32;
  }
  return n;
}

void bignum(Run *run) {
  Number *past[history] = {0};
  uint64_t count = scaled(run, 12000000), sum = 0, state = run->seed;
  Number *power = number(1);
  power->digits[0] = 1;
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    Number *next = times(power, 7), **slot = &past[i % history], *other = past[drawBelow(&state, history)];
    free(power);
    Number *total = other ? plus(next, other) : times(next, 3);
    if (*slot) sum += (*slot)->digits[0];
    free(*slot);
    *slot = total;
    power = next;
    if (power->length > mostDigits) {
      free(power);
      power = number(1);
      power->digits[0] = (uint32_t)i | 1;
    }
  }
  end(run);
  for (int i = 0; i < history; i++) free(past[i]);
  free(power);
  run->ops = 2 * count;
  run->checksum = sum;
}
