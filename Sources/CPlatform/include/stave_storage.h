// SPDX-License-Identifier: BSD-2-Clause
//
// The storage that exists before anything has run: what the fast paths read, the boot memory, and the root that readers in
// other processes look for. All of it starts as zeros, and zeros mean "not ready: take the slow path".

#ifndef STAVE_STORAGE_H
#define STAVE_STORAGE_H

#include <stddef.h>
#include <stdint.h>

enum {
  STAVE_MAX_CPUS = 8192,          // the kernel's own bound
  STAVE_CPU_GUARDS = 2,           // entries for the CPU numbers -1 and -2 of a thread that has no rseq area
  STAVE_MAX_CELLS = 4096,         // zones that can have caches
  STAVE_SMALL_LIMIT = 32768,      // the largest size that a zone serves
  STAVE_UNIT_SHIFT = 16,          // the address map's unit: 64 KiB
  STAVE_MAX_KEGS = 8192,
  STAVE_MAX_TYPES = 4096,
  STAVE_CALLER_BITS = 13,         // callers whose types are known: 8192 words, of which only those used have pages
  STAVE_BOOT_BYTES = 32768,       // metadata before the first system call
  STAVE_ROOT_BYTES = 8192,
};

// A zone's cache on one CPU. `word`: how many pointers lie in the slots (low 16 bits) and how many items were popped
// (48 bits above), committed by one store. `moved`: items flushed out less items filled in, so that
// frees = fill + pops + moved. `slots` points behind a word that is always zero.
struct stave_cell {
  uint64_t word;
  int64_t moved;
  uint32_t capacity;
  uint32_t reciprocal;            // floor(2^32 / item size) + 1, for the membership test; 0 when frees must not come here
  uintptr_t *_Nullable slots;
};

// What the fast paths read. Entries of `cpu` are addresses of cell arrays; until a CPU has its own, and while its caches
// are being emptied from elsewhere, they are the array of empty cells, which sends every operation to the slow path.
struct stave_hot {
  uint64_t small_limit;           // sizes below have an entry in size_cell; 0 until the heap is ready
  int64_t rseq_offset;            // from the thread pointer to the rseq area
  uint64_t unit_count;            // units that unit_cell describes
  uint16_t *_Nullable unit_cell;  // unit → cell offset / 32; 0 for what free() must look at closely
  uint64_t typed_limit;           // as small_limit, for requests whose type is known, or known to be none
  uint32_t scopes;                // 1 once a thread has entered a scope, or with hash classes: each request is looked at
  uint32_t scopes_refused;        // 1 once that was said
  uint32_t traced;                // 1 while the fast paths are closed for a tracer
  uint32_t claims;                // 1 while what callers say of blocks that they free is compared with what is known
  uint64_t guarded_limit;         // as typed_limit, for requests that guards pass by; 0 without guards
  uint64_t passing_limit;         // as small_limit, where nothing but the lot has to be looked at; 0 without guards
  struct stave_cell *_Nullable cpu[STAVE_CPU_GUARDS + STAVE_MAX_CPUS];
  uint16_t size_cell[STAVE_SMALL_LIMIT / 16 + 1];
};

// What free() takes from the unit of each address: the first unit of the arena's window. Who has put a letter into the mailbox rings the
// bell (Pages/Mailbox), and whoever traces counts up the upper sixteen bits (stave_tracing.h): no unit is covered any more.
union stave_free_base {
  uint64_t word;
  struct { uint32_t first_unit; union { struct { uint16_t bell; uint16_t tracers; }; uint32_t calls; }; };
};
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tracers are the upper bits");

#define STAVE_HIDDEN __attribute__((visibility("hidden")))
extern union stave_free_base stave_free_base_storage STAVE_HIDDEN;
extern struct stave_hot stave_hot_storage STAVE_HIDDEN;
extern struct stave_cell stave_empty_cells[STAVE_MAX_CELLS] STAVE_HIDDEN;
extern unsigned char stave_boot_memory[STAVE_BOOT_BYTES] STAVE_HIDDEN;

// Which cells zones have: where their slots begin in each region, how many there are (0: the cell is free).
// `most`: items that a cell may hold, up to the capacity; 0: it is closed.
struct stave_cell_place { uint32_t slots; uint32_t reciprocal; uint16_t capacity; uint16_t taken; uint16_t most; };
extern struct stave_cell_place stave_cell_places_storage[STAVE_MAX_CELLS] STAVE_HIDDEN;
// Callers and the numbers of their types, see Heap/CallerTypes.
extern uint64_t stave_caller_types_storage[1 << STAVE_CALLER_BITS] STAVE_HIDDEN;
static inline uint64_t *_Nonnull stave_caller_types(void) { return stave_caller_types_storage; }
// Regions by CPU number, kegs by index.
extern void *_Nullable stave_regions_storage[STAVE_MAX_CPUS] STAVE_HIDDEN;
extern void *_Nullable stave_kegs_storage[STAVE_MAX_KEGS] STAVE_HIDDEN;

static inline void stave_add(int64_t *_Nonnull where, int64_t count) { __atomic_fetch_add(where, count, __ATOMIC_RELAXED); }
// Sequentially consistent: who adds sees what others stored before they looked at the sum. The sum before.
static inline int64_t stave_add_fetching(int64_t *_Nonnull where, int64_t count) { return __atomic_fetch_add(where, count, __ATOMIC_SEQ_CST); }
static inline void stave_add32(int32_t *_Nonnull where, int32_t count) { __atomic_fetch_add(where, count, __ATOMIC_SEQ_CST); }
static inline _Bool stave_replace64(int64_t *_Nonnull where, int64_t old, int64_t new) {
  return __atomic_compare_exchange_n(where, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}
static inline void stave_advance32(uint32_t *_Nonnull where) { __atomic_fetch_add(where, 1, __ATOMIC_SEQ_CST); }
// From 0 to 1, for whoever comes first.
static inline _Bool stave_claim(uint32_t *_Nonnull where) { return __atomic_exchange_n(where, 1, __ATOMIC_ACQ_REL) == 0; }
// From `old` to `new`, unless somebody else has changed it.
static inline _Bool stave_replace32(uint32_t *_Nonnull where, uint32_t old, uint32_t new) {
  return __atomic_compare_exchange_n(where, &old, new, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}
// From `expected` to `wanted`; false if it is something else.
static inline _Bool stave_swap32(int32_t *_Nonnull where, int32_t expected, int32_t wanted) {
  return __atomic_compare_exchange_n(where, &expected, wanted, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}
static inline void stave_store_pointer(void *_Nullable *_Nonnull where, void *_Nullable value) { __atomic_store_n(where, value, __ATOMIC_RELEASE); }
static inline void *_Nullable stave_load_pointer(void *_Nullable const *_Nonnull where) { return __atomic_load_n(where, __ATOMIC_ACQUIRE); }
static inline int32_t stave_exchange32(int32_t *_Nonnull where, int32_t value) { return __atomic_exchange_n(where, value, __ATOMIC_SEQ_CST); }
static inline void stave_or32(int32_t *_Nonnull where, int32_t bits) { __atomic_fetch_or(where, bits, __ATOMIC_SEQ_CST); }
static inline int32_t stave_load32(const void *_Nonnull where) { return __atomic_load_n((const int32_t *)where, __ATOMIC_ACQUIRE); }
static inline void stave_store32(uint32_t *_Nonnull where, uint32_t value) { __atomic_store_n(where, value, __ATOMIC_RELEASE); }
// Whether the 64 bytes there are eight times this word; at any address.
static inline _Bool stave_is_line_of(uint64_t word, uintptr_t address) {
  struct __attribute__((packed, may_alias)) line { uint64_t words[8]; };
  const struct line *line = (const struct line *)address;
  uint64_t other = 0;
  for (int index = 0; index < 8; index++) other |= line->words[index] ^ word;
  return other == 0;
}
static inline uint64_t stave_load64(const void *_Nonnull where) { return __atomic_load_n((const uint64_t *)where, __ATOMIC_ACQUIRE); }
static inline void stave_store64(void *_Nonnull where, uint64_t value) { __atomic_store_n((uint64_t *)where, value, __ATOMIC_RELEASE); }
static inline struct stave_cell_place *_Nonnull stave_cell_places(void) { return stave_cell_places_storage; }
static inline void *_Nullable *_Nonnull stave_regions(void) { return stave_regions_storage; }
static inline void *_Nullable *_Nonnull stave_kegs(void) { return stave_kegs_storage; }
// The thread pointer of the thread that holds all locks around fork, else 0: to it they are open (Primitives/FutexLock).
extern uintptr_t stave_fork_owner_storage STAVE_HIDDEN;
static inline _Bool stave_is_fork_owner(void) {
  uintptr_t owner = __atomic_load_n(&stave_fork_owner_storage, __ATOMIC_RELAXED);
  return owner != 0 && owner == (uintptr_t)__builtin_thread_pointer();
}
static inline void stave_own_fork(_Bool yes) {
  __atomic_store_n(&stave_fork_owner_storage, yes ? (uintptr_t)__builtin_thread_pointer() : 0, __ATOMIC_RELEASE);
}
// The thread pointer of Stave's own thread (Heap+Background), whose descriptors are not the program's.
extern uintptr_t stave_own_thread_storage STAVE_HIDDEN;
static inline void stave_set_own_thread(uintptr_t pointer) { __atomic_store_n(&stave_own_thread_storage, pointer, __ATOMIC_RELAXED); }
static inline _Bool stave_is_own_thread(void) {
  return __atomic_load_n(&stave_own_thread_storage, __ATOMIC_RELAXED) == (uintptr_t)__builtin_thread_pointer();
}
static inline struct stave_hot *_Nonnull stave_hot(void) { return &stave_hot_storage; }
static inline uint64_t stave_free_base(void) { return stave_free_base_storage.word; }
static inline void stave_set_first_unit(uint32_t unit) { __atomic_store_n(&stave_free_base_storage.first_unit, unit, __ATOMIC_RELAXED); }
static inline uint16_t *_Nonnull stave_bell(void) { return &stave_free_base_storage.bell; }
static inline _Bool stave_is_rung(void) { return *(const volatile uint16_t *)stave_bell() != 0; }
// Whether somebody rings or traces.
static inline _Bool stave_is_called(void) { return *(const volatile uint32_t *)&stave_free_base_storage.calls != 0; }
static inline struct stave_cell *_Nonnull stave_no_cells(void) { return stave_empty_cells; }
static inline void *_Nonnull stave_boot(void) { return stave_boot_memory; }
static inline struct stave_cell *_Nullable *_Nonnull stave_cpu_table(void) { return &stave_hot_storage.cpu[STAVE_CPU_GUARDS]; }
static inline uint16_t *_Nonnull stave_size_table(void) { return stave_hot_storage.size_cell; }

// The root, whose layout Pages/Root.swift defines. Readers find it by its exported name, `stave_root`, or by a note. The core
// uses a name of its own for it, since an exported one means the first copy that the process has loaded.
extern unsigned char stave_root_bytes[STAVE_ROOT_BYTES] STAVE_HIDDEN;
static inline void *_Nonnull stave_root_storage(void) { return stave_root_bytes; }

#endif
