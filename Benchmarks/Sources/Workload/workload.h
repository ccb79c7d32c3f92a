// SPDX-License-Identifier: BSD-2-Clause
//
// What every workload shares. A workload is one function in one file: it does a fixed amount of work that follows from
// its argument, the scale and the seed alone, and adds up a checksum from what it reads back out of the blocks, so that
// the compiler can drop nothing and a block that was handed out twice shows as a wrong sum.

#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Run {
  uint64_t argument;       // the number after the name: a size, a count; its meaning is the workload's
  double scale;            // 1 is a run of about a second
  uint64_t seed;
  uint64_t ops;            // results: operations done (a pair of malloc and free is one),
  uint64_t checksum;       // the sum that must be the same under every allocator,
  uint64_t begun, ended;   // when the measured part began and ended, in ns,
  uint64_t begunCPU, endedCPU;  // and the CPU time of all threads by then
} Run;

typedef void Workload(Run *run);
Workload pairs, batch, lifetimes, growth, large, largeMix, zeroed, pareto, bignum, containers;
Workload handoff, phases, mailboxes, server, parallel, brief;
Workload threadsAtOnce, threadsInTurn, idle, idleRandom, scaleLive, scaleThreads, scaleLarge;
Workload countNone, countTypes, countAtomic, countMutex, copies;
Workload zonePairs, walkSpread, walkPlain, walkBlocks, lookupSMR, lookupRWLock, lookupMutex;
Workload poolPageNear, poolPageAny, poolMapNear, poolMapAny, poolTreeNear, poolTreeAny, poolZoneNear, poolZoneAny;
Workload poolBlocksNear, poolBlocksAny;
Workload packetAllocate, packetAppend, packetPrepend, packetShare, packetSplit, packetPullUp, packetHold;

uint64_t nanoseconds(clockid_t clock);
/// Resident memory of this process in KiB, as exact as the kernel knows it; calls no allocator.
uint64_t residentKiB(void);
/// Prints one figure for the runner to read, without stdio.
void reportFigure(const char *name, uint64_t value);
void die(const char *why);

typedef void *Body(void *);
/// A thread on a small stack; on the n-th allowed CPU if `cpu` is not negative.
void startThread(uint64_t *handle, Body *body, void *argument, int cpu);
void joinThread(uint64_t handle);
int cpuCount(void);

static inline void begin(Run *run) {
  run->begunCPU = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  run->begun = nanoseconds(CLOCK_MONOTONIC);
}

static inline void end(Run *run) {
  run->ended = nanoseconds(CLOCK_MONOTONIC);
  run->endedCPU = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
}

static inline uint64_t scaled(const Run *run, uint64_t count) {
  uint64_t n = (uint64_t)((double)count * run->scale);
  return n ? n : 1;
}

/// Makes the compiler believe that the block is read and written elsewhere.
static inline void keep(void *block) { __asm__ volatile("" : : "r"(block) : "memory"); }

/// Weyl sequence and a mixing step: any seed will do, and neighbouring seeds give unrelated numbers.
static inline uint64_t draw(uint64_t *state) {
  uint64_t x = (*state += 0x9e3779b97f4a7c15u);
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  return x ^ (x >> 32);
}

static inline uint64_t drawBelow(uint64_t *state, uint64_t bound) {
  return (uint64_t)(((unsigned __int128)draw(state) * bound) >> 64);
}

/// A size in [2^low, 2^high): every power of two as likely as the next, even within it.
static inline size_t drawSize(uint64_t *state, unsigned low, unsigned high) {
  uint64_t r = draw(state);
  unsigned power = low + (unsigned)((r >> 32) * (high - low) >> 32);
  return ((size_t)1 << power) + (r & (((size_t)1 << power) - 1));
}

/// A block whose first word holds `mark`.
static inline uint64_t *allocate(size_t size, uint64_t mark) {
  uint64_t *block = (uint64_t *)malloc(size);
  if (!block) die("out of memory");
  *block = mark;
  keep(block);
  return block;
}

/// Frees the block and returns its mark.
static inline uint64_t dispose(uint64_t *block) {
  uint64_t mark = *block;
  free(block);
  return mark;
}

#ifdef __cplusplus
}
#endif
