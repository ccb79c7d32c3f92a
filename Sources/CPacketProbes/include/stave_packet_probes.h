// SPDX-License-Identifier: BSD-2-Clause
//
// The probes of packet buffers. Made from Sources/Exporters/ProbeList.swift by `make probes`: edit that. stave_tracing.h says what notes and
// semaphores are.

#ifndef STAVE_PACKET_PROBES_H
#define STAVE_PACKET_PROBES_H

#include "stave_tracing.h"

// stave:m_init
extern uint16_t stave_m_init_semaphore STAVE_HIDDEN;
void stave_m_init_site(uint64_t mbuf, uint64_t how, uint64_t type, uint64_t flags) STAVE_HIDDEN;
static inline void stave_m_init_probe(uint64_t mbuf, uint64_t how, uint64_t type, uint64_t flags) {
  if (__builtin_expect(stave_is_watched(&stave_m_init_semaphore), 0)) stave_m_init_site(mbuf, how, type, flags);
}

// stave:m_get
extern uint16_t stave_m_get_semaphore STAVE_HIDDEN;
void stave_m_get_site(uint64_t how, uint64_t type, uint64_t mbuf) STAVE_HIDDEN;
static inline void stave_m_get_probe(uint64_t how, uint64_t type, uint64_t mbuf) {
  if (__builtin_expect(stave_is_watched(&stave_m_get_semaphore), 0)) stave_m_get_site(how, type, mbuf);
}

// stave:m_gethdr
extern uint16_t stave_m_gethdr_semaphore STAVE_HIDDEN;
void stave_m_gethdr_site(uint64_t how, uint64_t type, uint64_t mbuf) STAVE_HIDDEN;
static inline void stave_m_gethdr_probe(uint64_t how, uint64_t type, uint64_t mbuf) {
  if (__builtin_expect(stave_is_watched(&stave_m_gethdr_semaphore), 0)) stave_m_gethdr_site(how, type, mbuf);
}

// stave:m_getcl
extern uint16_t stave_m_getcl_semaphore STAVE_HIDDEN;
void stave_m_getcl_site(uint64_t how, uint64_t type, uint64_t flags, uint64_t mbuf) STAVE_HIDDEN;
static inline void stave_m_getcl_probe(uint64_t how, uint64_t type, uint64_t flags, uint64_t mbuf) {
  if (__builtin_expect(stave_is_watched(&stave_m_getcl_semaphore), 0)) stave_m_getcl_site(how, type, flags, mbuf);
}

// stave:m_getjcl
extern uint16_t stave_m_getjcl_semaphore STAVE_HIDDEN;
void stave_m_getjcl_site(uint64_t how, uint64_t type, uint64_t flags, uint64_t size, uint64_t mbuf) STAVE_HIDDEN;
static inline void stave_m_getjcl_probe(uint64_t how, uint64_t type, uint64_t flags, uint64_t size, uint64_t mbuf) {
  if (__builtin_expect(stave_is_watched(&stave_m_getjcl_semaphore), 0)) stave_m_getjcl_site(how, type, flags, size, mbuf);
}

// stave:m_clget
extern uint16_t stave_m_clget_semaphore STAVE_HIDDEN;
void stave_m_clget_site(uint64_t mbuf, uint64_t how, uint64_t done) STAVE_HIDDEN;
static inline void stave_m_clget_probe(uint64_t mbuf, uint64_t how, uint64_t done) {
  if (__builtin_expect(stave_is_watched(&stave_m_clget_semaphore), 0)) stave_m_clget_site(mbuf, how, done);
}

// stave:m_cljget
extern uint16_t stave_m_cljget_semaphore STAVE_HIDDEN;
void stave_m_cljget_site(uint64_t mbuf, uint64_t how, uint64_t size, uint64_t cluster) STAVE_HIDDEN;
static inline void stave_m_cljget_probe(uint64_t mbuf, uint64_t how, uint64_t size, uint64_t cluster) {
  if (__builtin_expect(stave_is_watched(&stave_m_cljget_semaphore), 0)) stave_m_cljget_site(mbuf, how, size, cluster);
}

// stave:m_cljset
extern uint16_t stave_m_cljset_semaphore STAVE_HIDDEN;
void stave_m_cljset_site(uint64_t mbuf, uint64_t cluster, uint64_t size) STAVE_HIDDEN;
static inline void stave_m_cljset_probe(uint64_t mbuf, uint64_t cluster, uint64_t size) {
  if (__builtin_expect(stave_is_watched(&stave_m_cljset_semaphore), 0)) stave_m_cljset_site(mbuf, cluster, size);
}

// stave:m_free
extern uint16_t stave_m_free_semaphore STAVE_HIDDEN;
void stave_m_free_site(uint64_t mbuf) STAVE_HIDDEN;
static inline void stave_m_free_probe(uint64_t mbuf) {
  if (__builtin_expect(stave_is_watched(&stave_m_free_semaphore), 0)) stave_m_free_site(mbuf);
}

// stave:m_freem
extern uint16_t stave_m_freem_semaphore STAVE_HIDDEN;
void stave_m_freem_site(uint64_t mbuf) STAVE_HIDDEN;
static inline void stave_m_freem_probe(uint64_t mbuf) {
  if (__builtin_expect(stave_is_watched(&stave_m_freem_semaphore), 0)) stave_m_freem_site(mbuf);
}

#ifdef STAVE_PROBE_SITES

uint16_t stave_m_init_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_init_site(uint64_t mbuf, uint64_t how, uint64_t type, uint64_t flags) {
  STAVE_PROBE_SITE("stave", "m_init", "stave_m_init_semaphore", "8@%[mbuf] 8@%[how] 8@%[type] 8@%[flags]",
                   [mbuf] "r"(mbuf), [how] "r"(how), [type] "r"(type), [flags] "r"(flags));
}

uint16_t stave_m_get_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_get_site(uint64_t how, uint64_t type, uint64_t mbuf) {
  STAVE_PROBE_SITE("stave", "m_get", "stave_m_get_semaphore", "8@%[how] 8@%[type] 8@%[mbuf]",
                   [how] "r"(how), [type] "r"(type), [mbuf] "r"(mbuf));
}

uint16_t stave_m_gethdr_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_gethdr_site(uint64_t how, uint64_t type, uint64_t mbuf) {
  STAVE_PROBE_SITE("stave", "m_gethdr", "stave_m_gethdr_semaphore", "8@%[how] 8@%[type] 8@%[mbuf]",
                   [how] "r"(how), [type] "r"(type), [mbuf] "r"(mbuf));
}

uint16_t stave_m_getcl_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_getcl_site(uint64_t how, uint64_t type, uint64_t flags, uint64_t mbuf) {
  STAVE_PROBE_SITE("stave", "m_getcl", "stave_m_getcl_semaphore", "8@%[how] 8@%[type] 8@%[flags] 8@%[mbuf]",
                   [how] "r"(how), [type] "r"(type), [flags] "r"(flags), [mbuf] "r"(mbuf));
}

uint16_t stave_m_getjcl_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_getjcl_site(uint64_t how, uint64_t type, uint64_t flags, uint64_t size, uint64_t mbuf) {
  STAVE_PROBE_SITE("stave", "m_getjcl", "stave_m_getjcl_semaphore", "8@%[how] 8@%[type] 8@%[flags] 8@%[size] 8@%[mbuf]",
                   [how] "r"(how), [type] "r"(type), [flags] "r"(flags), [size] "r"(size), [mbuf] "r"(mbuf));
}

uint16_t stave_m_clget_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_clget_site(uint64_t mbuf, uint64_t how, uint64_t done) {
  STAVE_PROBE_SITE("stave", "m_clget", "stave_m_clget_semaphore", "8@%[mbuf] 8@%[how] 8@%[done]",
                   [mbuf] "r"(mbuf), [how] "r"(how), [done] "r"(done));
}

uint16_t stave_m_cljget_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_cljget_site(uint64_t mbuf, uint64_t how, uint64_t size, uint64_t cluster) {
  STAVE_PROBE_SITE("stave", "m_cljget", "stave_m_cljget_semaphore", "8@%[mbuf] 8@%[how] 8@%[size] 8@%[cluster]",
                   [mbuf] "r"(mbuf), [how] "r"(how), [size] "r"(size), [cluster] "r"(cluster));
}

uint16_t stave_m_cljset_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_cljset_site(uint64_t mbuf, uint64_t cluster, uint64_t size) {
  STAVE_PROBE_SITE("stave", "m_cljset", "stave_m_cljset_semaphore", "8@%[mbuf] 8@%[cluster] 8@%[size]",
                   [mbuf] "r"(mbuf), [cluster] "r"(cluster), [size] "r"(size));
}

uint16_t stave_m_free_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_free_site(uint64_t mbuf) {
  STAVE_PROBE_SITE("stave", "m_free", "stave_m_free_semaphore", "8@%[mbuf]",
                   [mbuf] "r"(mbuf));
}

uint16_t stave_m_freem_semaphore STAVE_SEMAPHORE;
STAVE_SITE void stave_m_freem_site(uint64_t mbuf) {
  STAVE_PROBE_SITE("stave", "m_freem", "stave_m_freem_semaphore", "8@%[mbuf]",
                   [mbuf] "r"(mbuf));
}

#endif

#endif
