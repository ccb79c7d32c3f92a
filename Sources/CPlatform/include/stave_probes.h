// SPDX-License-Identifier: BSD-2-Clause
//
// The probes. Made from Sources/Exporters/ProbeList.swift by `make probes`: edit that. stave_tracing.h says what notes and
// semaphores are.

#ifndef STAVE_PROBES_H
#define STAVE_PROBES_H

#include "stave_tracing.h"

// stave:malloc
void stave_malloc_site(uint64_t type, uint64_t id, uint64_t size, uint64_t class, uint64_t address, uint64_t requested) STAVE_HIDDEN;
static inline void stave_malloc_probe(uint64_t type, uint64_t id, uint64_t size, uint64_t class, uint64_t address, uint64_t requested) {
  stave_malloc_site(type, id, size, class, address, requested);
}

// stave:free
void stave_free_site(uint64_t type, uint64_t id, uint64_t size, uint64_t class, uint64_t address) STAVE_HIDDEN;
static inline void stave_free_probe(uint64_t type, uint64_t id, uint64_t size, uint64_t class, uint64_t address) {
  stave_free_site(type, id, size, class, address);
}

// stave:zone_grow
extern uint16_t stave_zone_grow_semaphore STAVE_HIDDEN;
void stave_zone_grow_site(uint64_t zone, uint64_t size, uint64_t bytes, uint64_t slabs) STAVE_HIDDEN;
static inline void stave_zone_grow_probe(uint64_t zone, uint64_t size, uint64_t bytes, uint64_t slabs) {
  if (__builtin_expect(stave_is_watched(&stave_zone_grow_semaphore), 0)) stave_zone_grow_site(zone, size, bytes, slabs);
}

// stave:zone_release
extern uint16_t stave_zone_release_semaphore STAVE_HIDDEN;
void stave_zone_release_site(uint64_t zone, uint64_t size, uint64_t bytes, uint64_t slabs) STAVE_HIDDEN;
static inline void stave_zone_release_probe(uint64_t zone, uint64_t size, uint64_t bytes, uint64_t slabs) {
  if (__builtin_expect(stave_is_watched(&stave_zone_release_semaphore), 0)) stave_zone_release_site(zone, size, bytes, slabs);
}

// stave:zone_fail
extern uint16_t stave_zone_fail_semaphore STAVE_HIDDEN;
void stave_zone_fail_site(uint64_t zone, uint64_t size, uint64_t failures) STAVE_HIDDEN;
static inline void stave_zone_fail_probe(uint64_t zone, uint64_t size, uint64_t failures) {
  if (__builtin_expect(stave_is_watched(&stave_zone_fail_semaphore), 0)) stave_zone_fail_site(zone, size, failures);
}

// stave:zone_sleep
extern uint16_t stave_zone_sleep_semaphore STAVE_HIDDEN;
void stave_zone_sleep_site(uint64_t zone, uint64_t size, uint64_t sleeps) STAVE_HIDDEN;
static inline void stave_zone_sleep_probe(uint64_t zone, uint64_t size, uint64_t sleeps) {
  if (__builtin_expect(stave_is_watched(&stave_zone_sleep_semaphore), 0)) stave_zone_sleep_site(zone, size, sleeps);
}

// stave:zone_reclaim
extern uint16_t stave_zone_reclaim_semaphore STAVE_HIDDEN;
void stave_zone_reclaim_site(uint64_t zone, uint64_t size, uint64_t how, uint64_t bytes) STAVE_HIDDEN;
static inline void stave_zone_reclaim_probe(uint64_t zone, uint64_t size, uint64_t how, uint64_t bytes) {
  if (__builtin_expect(stave_is_watched(&stave_zone_reclaim_semaphore), 0)) stave_zone_reclaim_site(zone, size, how, bytes);
}

// otel_memory:alloc
void stave_otel_memory_alloc_site(uint64_t address, uint64_t size, uint64_t weight) STAVE_HIDDEN;
static inline void stave_otel_memory_alloc_probe(uint64_t address, uint64_t size, uint64_t weight) {
  stave_otel_memory_alloc_site(address, size, weight);
}

// otel_memory:free
void stave_otel_memory_free_site(uint64_t address) STAVE_HIDDEN;
static inline void stave_otel_memory_free_probe(uint64_t address) {
  stave_otel_memory_free_site(address);
}

#ifdef STAVE_PROBE_SITES

STAVE_SITE void stave_malloc_site(uint64_t type, uint64_t id, uint64_t size, uint64_t class, uint64_t address, uint64_t requested) {
  STAVE_PROBE_SITE("stave", "malloc", "stave_free_base_storage + 6", "8@%[type] 8@%[id] 8@%[size] -8@%[class] 8@%[address] 8@%[requested]",
                   [type] "r"(type), [id] "r"(id), [size] "r"(size), [class] "r"(class), [address] "r"(address), [requested] "r"(requested));
}

STAVE_SITE void stave_free_site(uint64_t type, uint64_t id, uint64_t size, uint64_t class, uint64_t address) {
  STAVE_PROBE_SITE("stave", "free", "stave_free_base_storage + 6", "8@%[type] 8@%[id] 8@%[size] -8@%[class] 8@%[address]",
                   [type] "r"(type), [id] "r"(id), [size] "r"(size), [class] "r"(class), [address] "r"(address));
}

uint16_t stave_zone_grow_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_zone_grow_site(uint64_t zone, uint64_t size, uint64_t bytes, uint64_t slabs) {
  STAVE_PROBE_SITE("stave", "zone_grow", "stave_zone_grow_semaphore", "8@%[zone] 8@%[size] 8@%[bytes] 8@%[slabs]",
                   [zone] "r"(zone), [size] "r"(size), [bytes] "r"(bytes), [slabs] "r"(slabs));
}

uint16_t stave_zone_release_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_zone_release_site(uint64_t zone, uint64_t size, uint64_t bytes, uint64_t slabs) {
  STAVE_PROBE_SITE("stave", "zone_release", "stave_zone_release_semaphore", "8@%[zone] 8@%[size] 8@%[bytes] 8@%[slabs]",
                   [zone] "r"(zone), [size] "r"(size), [bytes] "r"(bytes), [slabs] "r"(slabs));
}

uint16_t stave_zone_fail_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_zone_fail_site(uint64_t zone, uint64_t size, uint64_t failures) {
  STAVE_PROBE_SITE("stave", "zone_fail", "stave_zone_fail_semaphore", "8@%[zone] 8@%[size] 8@%[failures]",
                   [zone] "r"(zone), [size] "r"(size), [failures] "r"(failures));
}

uint16_t stave_zone_sleep_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_zone_sleep_site(uint64_t zone, uint64_t size, uint64_t sleeps) {
  STAVE_PROBE_SITE("stave", "zone_sleep", "stave_zone_sleep_semaphore", "8@%[zone] 8@%[size] 8@%[sleeps]",
                   [zone] "r"(zone), [size] "r"(size), [sleeps] "r"(sleeps));
}

uint16_t stave_zone_reclaim_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_zone_reclaim_site(uint64_t zone, uint64_t size, uint64_t how, uint64_t bytes) {
  STAVE_PROBE_SITE("stave", "zone_reclaim", "stave_zone_reclaim_semaphore", "8@%[zone] 8@%[size] 8@%[how] 8@%[bytes]",
                   [zone] "r"(zone), [size] "r"(size), [how] "r"(how), [bytes] "r"(bytes));
}

STAVE_SITE void stave_otel_memory_alloc_site(uint64_t address, uint64_t size, uint64_t weight) {
  STAVE_PROBE_SITE("otel_memory", "alloc", "stave_free_base_storage + 6", "8@%[address] 8@%[size] 8@%[weight]",
                   [address] "r"(address), [size] "r"(size), [weight] "r"(weight));
}

STAVE_SITE void stave_otel_memory_free_site(uint64_t address) {
  STAVE_PROBE_SITE("otel_memory", "free", "stave_free_base_storage + 6", "8@%[address]",
                   [address] "r"(address));
}

#endif

#endif
