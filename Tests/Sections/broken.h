// SPDX-License-Identifier: BSD-2-Clause
//
// Broken copies of the sections, to show that the tests notice: built with -DSABOTAGE=n, everything must fail.
//   1  pop commits before it has read the item           2  push never arms its descriptor
//   3  flush ends its section before the commit          4  fill finds its CPU's cell before the section begins
//   5  (stress only) cells are emptied without restarting the sections under way there

#ifndef BROKEN_H
#define BROKEN_H

#ifndef SABOTAGE
#define SABOTAGE 0
#endif

#if SABOTAGE == 1
__attribute__((always_inline)) static inline void *brokenPop(uint64_t offset) {
  uint64_t cell, word, item;
  __asm__ volatile(
      STAVE_SECTION_BEGIN("cell") STAVE_FIND_CELL("cell")
      "movq (%[cell]), %[word]\n\t"
      "movzwl %w[word], %k[item]\n\t"
      "testl %k[item], %k[item]\n\t"
      "je 2f\n\t"
      "shll $3, %k[item]\n\t"
      "addq %c[slots](%[cell]), %[item]\n\t"
      "addq $0xffff, %[word]\n\t"
      "movq %[word], (%[cell])\n\t"
      "movq -8(%[item]), %[item]\n" STAVE_SECTION_END
      : [cell] "=&r"(cell), [word] "=&r"(word), [item] "=&r"(item)
      : [area] "r"(stave_hot_storage.rseq_offset), [hot] "r"(&stave_hot_storage), [offset] "r"(offset),
        [table] "i"(STAVE_CPU_TABLE), [slots] "i"(offsetof(struct stave_cell, slots))
      : "memory", "cc");
  return (void *)item;
}
#define stave_pop brokenPop

#elif SABOTAGE == 2
// Plain C: what the section does, with nothing that would restart it.
__attribute__((always_inline)) static inline int brokenPush(uint64_t offset, void *item) {
  volatile struct stave_cell *cell = (struct stave_cell *)((char *)stave_cpu_table()[stave_rseq_cpu()] + offset);
  uint32_t product = (0x10000 - (uint32_t)((uintptr_t)item & 0xffff)) * cell->reciprocal;
  if (product >= cell->reciprocal) return STAVE_PUSH_FOREIGN;
  uint64_t word = cell->word;
  if ((word & 0xffff) >= cell->capacity) return STAVE_PUSH_FULL;
  volatile uintptr_t *slot = cell->slots + (word & 0xffff);
  if (slot[-1] == (uintptr_t)item) return STAVE_PUSH_AGAIN;
  *slot = (uintptr_t)item;
  cell->word = word + 1;
  return STAVE_PUSHED;
}
#define stave_push brokenPush

#elif SABOTAGE == 3
__attribute__((noinline)) static uint64_t brokenFlush(uint64_t offset, uintptr_t *to, uint64_t count, struct stave_cell **outOf) {
  uint64_t cell, word, source, target, taken;
  __asm__ volatile(
      STAVE_SECTION_BEGIN("cell") STAVE_FIND_CELL("cell")
      "movq (%[cell]), %[word]\n\t"
      "movzwl %w[word], %k[source]\n\t"
      "movq %[source], %[taken]\n\t"
      "cmpq %[count], %[taken]\n\t"
      "cmovaq %[count], %[taken]\n\t"
      "testq %[taken], %[taken]\n\t"
      "je 6f\n\t"
      "subq %[taken], %[source]\n\t"
      "shll $3, %k[source]\n\t"
      "addq %c[slots](%[cell]), %[source]\n\t"
      "movq %[to], %[target]\n\t"
      "subq %[taken], %[word]\n\t"
      "movq %[taken], %%rcx\n\t"
      "rep movsq\n" STAVE_SECTION_END
      "movq %[word], (%[cell])\n"
      "6:\n"
      : [cell] "=&r"(cell), [word] "=&r"(word), [source] "=&S"(source), [target] "=&D"(target), [taken] "=&r"(taken)
      : [area] "r"(stave_hot_storage.rseq_offset), [hot] "r"(&stave_hot_storage), [offset] "r"(offset), [to] "r"(to),
        [count] "r"(count), [table] "i"(STAVE_CPU_TABLE), [slots] "i"(offsetof(struct stave_cell, slots))
      : "rcx", "memory", "cc");
  *outOf = (struct stave_cell *)cell;
  return taken;
}
#define stave_flush brokenFlush

#elif SABOTAGE == 4
__attribute__((noinline)) static uint64_t brokenFill(uint64_t offset, const uintptr_t *from, uint64_t count, struct stave_cell **into) {
  uint64_t cell, word, source, target, room, scratch;
  __asm__ volatile(
      STAVE_FIND_CELL("cell") STAVE_SECTION_BEGIN("scratch")
      "movq (%[cell]), %[word]\n\t"
      "movzwl %w[word], %k[target]\n\t"
      "movl %c[capacity](%[cell]), %k[room]\n\t"
      "subq %[target], %[room]\n\t"
      "jle 6f\n\t"
      "cmpq %[count], %[room]\n\t"
      "cmovaq %[count], %[room]\n\t"
      "shll $3, %k[target]\n\t"
      "addq %c[slots](%[cell]), %[target]\n\t"
      "movq %[from], %[source]\n\t"
      "addq %[room], %[word]\n\t"
      "movq %[room], %%rcx\n\t"
      "rep movsq\n\t"
      "movq %[word], (%[cell])\n" STAVE_SECTION_END
      "jmp 7f\n6:\txorl %k[room], %k[room]\n7:\n"
      : [cell] "=&r"(cell), [word] "=&r"(word), [source] "=&S"(source), [target] "=&D"(target), [room] "=&r"(room),
        [scratch] "=&r"(scratch)
      : [area] "r"(stave_hot_storage.rseq_offset), [hot] "r"(&stave_hot_storage), [offset] "r"(offset), [from] "m"(from),
        [count] "r"(count), [table] "i"(STAVE_CPU_TABLE), [slots] "i"(offsetof(struct stave_cell, slots)),
        [capacity] "i"(offsetof(struct stave_cell, capacity))
      : "rcx", "memory", "cc");
  *into = (struct stave_cell *)cell;
  return room;
}
#define stave_fill brokenFill
#endif

#endif
