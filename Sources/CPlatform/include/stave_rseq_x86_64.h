// SPDX-License-Identifier: BSD-2-Clause
//
// The sections for x86-64. Register use is left to the compiler. Slots are reached by an address computed first (lea) and a
// plain base: indexed forms defeat the store-to-load forwarding between a free and the next allocation.
// `cell` is an offset in bytes into the CPU's cell array.

#ifndef STAVE_RSEQ_X86_64_H
#define STAVE_RSEQ_X86_64_H

#define STAVE_HAS_RSEQ 1
static inline int stave_has_rseq(void) { return 1; }

// The CPU of this thread, -1 or -2 where the thread has no rseq area. Valid only as a hint.
static inline int stave_rseq_cpu(void) {
  int cpu;
  __asm__ volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(stave_hot_storage.rseq_offset));
  return cpu;
}

// The descriptor (label 3), the way back in (label 4 → 5), and the arming store. 0x53053053 is the signature glibc registers.
#define STAVE_SECTION_BEGIN(scratch) STAVE_SECTION_BEGIN_IN("%[" scratch "]")
#define STAVE_SECTION_BEGIN_RAX STAVE_SECTION_BEGIN_IN("%%rax")
#define STAVE_SECTION_BEGIN_IN(scratch)                                                                  \
  ".pushsection __rseq_cs, \"aw\"\n\t.balign 32\n3:\t.long 0, 0\n\t.quad 1f, 2f - 1f, 4f\n\t.popsection\n\t"  \
  ".pushsection __rseq_failure, \"ax\"\n\t.byte 0x0f, 0xb9, 0x3d\n\t.long 0x53053053\n4:\tjmp 5f\n\t.popsection\n"  \
  "5:\tleaq 3b(%%rip), " scratch "\n\tmovq " scratch ", %%fs:8(%[area])\n1:\t"
// From the CPU's number to the address of its cell.
#define STAVE_FIND_CELL(cell) STAVE_FIND_CELL_IN("%[" cell "]")
#define STAVE_FIND_CELL_RAX STAVE_FIND_CELL_IN("%%rax")
#define STAVE_FIND_CELL_IN(cell)                                                                         \
  "movslq %%fs:4(%[area]), " cell "\n\t"                                                           \
  "movq %c[table](%[hot], " cell ", 8), " cell "\n\t"                                           \
  "addq %[offset], " cell "\n\t"
#define STAVE_SECTION_END "2:\n"

#define STAVE_CPU_TABLE (offsetof(struct stave_hot, cpu) + STAVE_CPU_GUARDS * 8)

// Takes the item on top of this CPU's cell and counts it; null if the cell is empty.
__attribute__((always_inline)) static inline void *_Nullable stave_pop(uint64_t offset) {
  uint64_t cell, word, item;
  __asm__ volatile(
      STAVE_SECTION_BEGIN("cell") STAVE_FIND_CELL("cell")
      "movq (%[cell]), %[word]\n\t"
      "movzwl %w[word], %k[item]\n\t"
      "testl %k[item], %k[item]\n\t"
      "je 2f\n\t"
      "shll $3, %k[item]\n\t"
      "addq %c[slots](%[cell]), %[item]\n\t"
      "movq -8(%[item]), %[item]\n\t"
      "addq $0xffff, %[word]\n\t"
      "movq %[word], (%[cell])\n" STAVE_SECTION_END
      : [cell] "=&r"(cell), [word] "=&r"(word), [item] "=&r"(item)
      : [area] "r"(stave_hot_storage.rseq_offset), [hot] "r"(&stave_hot_storage), [offset] "r"(offset),
        [table] "i"(STAVE_CPU_TABLE), [slots] "i"(offsetof(struct stave_cell, slots))
      : "memory", "cc");
  return (void *)item;
}

enum { STAVE_PUSHED = 0, STAVE_PUSH_FULL = 1, STAVE_PUSH_FOREIGN = 2, STAVE_PUSH_AGAIN = 3 };

// Puts an item on top of this CPU's cell. FULL: no room. FOREIGN: not the start of an item (items fill a unit from its end,
// so the distance to the end must be a multiple of the size; the multiply feeds nothing but a branch), or the cell takes
// no frees at the moment: the slow path finds out. AGAIN: the item lies on top already. Registers are named, for an
// asm goto with outputs would not be inlined into Swift.
__attribute__((always_inline)) static inline int stave_push(uint64_t offset, void *_Nullable item) {
  __asm__ goto volatile(
      STAVE_SECTION_BEGIN_RAX STAVE_FIND_CELL_RAX
      "movl %[distance], %%edx\n\t"
      "imull %c[reciprocal](%%rax), %%edx\n\t"
      "cmpl %c[reciprocal](%%rax), %%edx\n\t"
      "jae %l[foreign]\n\t"
      "movq (%%rax), %%rdx\n\t"
      "movzwl %%dx, %%ecx\n\t"
      "cmpl %c[capacity](%%rax), %%ecx\n\t"
      "jae %l[full]\n\t"
      "shll $3, %%ecx\n\t"
      "addq %c[slots](%%rax), %%rcx\n\t"
      "cmpq %[item], -8(%%rcx)\n\t"
      "je %l[again]\n\t"
      "movq %[item], (%%rcx)\n\t"
      "addq $1, %%rdx\n\t"
      "movq %%rdx, (%%rax)\n" STAVE_SECTION_END
      :
      : [area] "r"(stave_hot_storage.rseq_offset), [hot] "r"(&stave_hot_storage), [offset] "r"(offset), [item] "r"(item),
        [distance] "r"(0x10000 - (uint32_t)((uintptr_t)item & 0xffff)), [table] "i"(STAVE_CPU_TABLE),
        [slots] "i"(offsetof(struct stave_cell, slots)), [capacity] "i"(offsetof(struct stave_cell, capacity)),
        [reciprocal] "i"(offsetof(struct stave_cell, reciprocal))
      : "rax", "rcx", "rdx", "memory", "cc"
      : full, foreign, again);
  return STAVE_PUSHED;
full:
  return STAVE_PUSH_FULL;
foreign:
  return STAVE_PUSH_FOREIGN;
again:
  return STAVE_PUSH_AGAIN;
}

// Copies up to `count` items into this CPU's cell, as many as there is room for: how many, and the cell that took them.
// What is stored above the fill before the commit is nobody's, so a restart may store it again.
__attribute__((noinline, unused)) static uint64_t stave_fill(uint64_t offset, const uintptr_t *_Nonnull from, uint64_t count,
                                                             struct stave_cell *_Nullable *_Nonnull into) {
  uint64_t cell, word, source, target, room;
  __asm__ volatile(
      STAVE_SECTION_BEGIN("cell") STAVE_FIND_CELL("cell")
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
      : [cell] "=&r"(cell), [word] "=&r"(word), [source] "=&S"(source), [target] "=&D"(target), [room] "=&r"(room)
      : [area] "r"(stave_hot_storage.rseq_offset), [hot] "r"(&stave_hot_storage), [offset] "r"(offset), [from] "r"(from),
        [count] "r"(count), [table] "i"(STAVE_CPU_TABLE), [slots] "i"(offsetof(struct stave_cell, slots)),
        [capacity] "i"(offsetof(struct stave_cell, capacity))
      : "rcx", "memory", "cc");
  *into = (struct stave_cell *)cell;
  return room;
}

// Takes up to `count` items off the top of this CPU's cell: how many, and the cell they came from. Not counted as pops.
__attribute__((noinline, unused)) static uint64_t stave_flush(uint64_t offset, uintptr_t *_Nonnull to, uint64_t count,
                                                              struct stave_cell *_Nullable *_Nonnull outOf) {
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
      "rep movsq\n\t"
      "movq %[word], (%[cell])\n" STAVE_SECTION_END
      "6:\n"
      : [cell] "=&r"(cell), [word] "=&r"(word), [source] "=&S"(source), [target] "=&D"(target), [taken] "=&r"(taken)
      : [area] "r"(stave_hot_storage.rseq_offset), [hot] "r"(&stave_hot_storage), [offset] "r"(offset), [to] "r"(to),
        [count] "r"(count), [table] "i"(STAVE_CPU_TABLE), [slots] "i"(offsetof(struct stave_cell, slots))
      : "rcx", "memory", "cc");
  *outOf = (struct stave_cell *)cell;
  return taken;
}

#endif
