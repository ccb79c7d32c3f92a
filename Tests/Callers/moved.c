// SPDX-License-Identifier: BSD-2-Clause
//
// Two libraries alike but for the FRAME bytes of stack that one function takes.

void use(char *bytes) { __asm__ volatile("" : : "r"(bytes) : "memory"); }
void (*volatile user)(char *) = use;

__attribute__((aligned(4096))) void framed(void) {
  char bytes[FRAME];
  user(bytes);
  user(bytes);
}
