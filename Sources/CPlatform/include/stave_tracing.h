// SPDX-License-Identifier: BSD-2-Clause
//
// What the probes of stave_probes.h are made of: a `nop` and a note that tells tracers where it is, what lies in which register, and
// which 16-bit semaphore they are to count up while they watch. Written here so that nobody needs SystemTap's header to build
// Stave. Nothing of it differs between machines of 64 bits but how a register is called, which the compiler fills in.
//
// The semaphore of malloc and free is a part of the word that free() takes from every block's unit number. At zero it is no part
// of anything; from one on each difference is beyond the units there are, so that the very next free takes the slow path, which then
// closes malloc's (Heap+Tracing). The fast paths are the same instructions as without probes.

#ifndef STAVE_TRACING_H
#define STAVE_TRACING_H

#include "stave_storage.h"

// Tracers write it through the file that the library was mapped from: so it must lie in .data, not in .bss.
#define STAVE_SEMAPHORE __attribute__((section(".probes"), used))

static inline _Bool stave_is_watched(const uint16_t *_Nonnull semaphore) { return *(const volatile uint16_t *)semaphore != 0; }
// How many watch malloc and free.
static inline uint16_t *_Nonnull stave_tracers_semaphore(void) { return &stave_free_base_storage.tracers; }
static inline unsigned stave_tracers(void) { return *(const volatile uint16_t *)stave_tracers_semaphore(); }

// All in one section: sites look alike, and a linker that makes one function of those would leave notes without a place.
#define STAVE_SITE __attribute__((noinline, section(".text.probe_sites")))
#define STAVE_PROBE_SITE(provider, name, semaphore, operands, ...)                                                              \
  __asm__ volatile("990:\tnop\n"                                                                                              \
                   "\t.pushsection .note.stapsdt, \"\", @note\n\t.balign 4\n\t.long 8, 992f - 991f, 3\n\t.asciz \"stapsdt\"\n"    \
                   "991:\t.8byte 990b, stave_probe_base, " semaphore "\n"                                                    \
                   "\t.asciz \"" provider "\"\n\t.asciz \"" name "\"\n\t.asciz \"" operands "\"\n992:\t.balign 4\n\t.popsection"  \
                   :: __VA_ARGS__)

// Addresses of sampled blocks, in rows of eight words by a hash of the address; a block that is in none is no sample.
enum { STAVE_SAMPLE_BITS = 16, STAVE_SAMPLE_ROW = 8, STAVE_SAMPLE_STATES = 64 };
extern uint64_t stave_samples_storage[1 << STAVE_SAMPLE_BITS] STAVE_HIDDEN;
static inline uint64_t *_Nonnull stave_samples(void) { return stave_samples_storage; }
// States of the generator of chance, one for each CPU (modulo their number), a cache line apart.
extern uint64_t stave_sample_states_storage[STAVE_SAMPLE_STATES * 8] STAVE_HIDDEN;
static inline uint64_t *_Nonnull stave_sample_states(void) { return stave_sample_states_storage; }
// A step of it. Two threads that step at once may see the same number; it costs no atomic operation.
static inline uint64_t stave_step_sample_state(uint64_t *_Nonnull state) {
  uint64_t next = __atomic_load_n(state, __ATOMIC_RELAXED) + 0x9e3779b97f4a7c15u;
  __atomic_store_n(state, next, __ATOMIC_RELAXED);
  return next;
}
// From `old` to `new`; false if it is something else.
static inline _Bool stave_replace_sample(uint64_t *_Nonnull where, uint64_t old, uint64_t new) {
  return __atomic_compare_exchange_n(where, &old, new, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}
static inline const char *_Nonnull stave_plain_type_name(void) { return "malloc"; }

#endif
