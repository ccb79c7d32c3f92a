// SPDX-License-Identifier: BSD-2-Clause
//
// A method of a template that deletes what is no object, called from a destructor.

#include <cstdio>
#include <new>

static void *hidden(void *block) { __asm__("" : "+r"(block)); return block; }
static volatile int turns;

namespace shop {
template <class Goods> struct Cart {
  __attribute__((noinline)) void drop(Goods *goods) {
    ::operator delete(hidden(goods));
    turns = turns + 1;
  }
};
struct Visit {
  Cart<long> cart;
  long goods[4] = {};
  __attribute__((noinline)) ~Visit() {
    cart.drop(&goods[2]);
    turns = turns + 1;
  }
};
}

int main() {
  { shop::Visit visit; }
  std::puts("went on");
}
