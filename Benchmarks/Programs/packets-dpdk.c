// SPDX-License-Identifier: BSD-2-Clause
//
// packets-dpdk OPERATION COUNT: Workload/packets.c on DPDK's rte_mbuf, if that is installed: memory without huge pages, and no device.
// Built by stave-bench itself: cc -O2 $(pkg-config --cflags libdpdk) packets-dpdk.c $(pkg-config --libs libdpdk). What is not there
// by its name: split is a clone whose head is cut off beside the packet whose tail is; pullup is rte_pktmbuf_linearize, which moves all
// bytes.

#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { byteCount = 512, headerBytes = 40, packets = 16383, heldCount = 8000, cached = 250 };

static unsigned char bytes[byteCount];
static struct rte_mempool *pool;

static void die(const char *why) {
  fprintf(stderr, "packets-dpdk: %s\n", why);
  exit(3);
}

static inline struct rte_mbuf *made(void) {
  struct rte_mbuf *packet = rte_pktmbuf_alloc(pool);
  if (!packet) die("no packet");
  return packet;
}

static inline void append(struct rte_mbuf *packet, size_t count) {
  void *room = rte_pktmbuf_append(packet, (uint16_t)count);
  if (!room) die("no room");
  memcpy(room, bytes, count);
}

static inline struct rte_mbuf *filled(void) {
  struct rte_mbuf *packet = made();
  append(packet, byteCount);
  return packet;
}

static inline void one(struct rte_mbuf *packet) {
  __asm__ volatile("" : : "r"(packet) : "memory");
  rte_pktmbuf_free(packet);
}

static struct rte_mbuf *cloned(struct rte_mbuf *packet) {
  struct rte_mbuf *other = rte_pktmbuf_clone(packet, pool);
  if (!other) die("no clone");
  return other;
}

static void allocateOne(void) { one(made()); }
static void appendOne(void) { one(filled()); }

static void prependOne(void) {
  struct rte_mbuf *packet = filled();
  if (!rte_pktmbuf_prepend(packet, headerBytes)) die("no room");
  one(packet);
}

static void shareOne(void) {
  struct rte_mbuf *packet = filled(), *other = cloned(packet);
  one(packet);
  one(other);
}

static void splitOne(void) {
  struct rte_mbuf *packet = filled(), *rest = cloned(packet);
  if (!rte_pktmbuf_adj(rest, byteCount / 2) || rte_pktmbuf_trim(packet, byteCount / 2)) die("no split");
  one(packet);
  one(rest);
}

static void pullUpOne(void) {
  struct rte_mbuf *header = made();
  append(header, headerBytes);
  if (rte_pktmbuf_chain(header, filled()) || rte_pktmbuf_linearize(header)) die("no room");
  one(header);
}

static void holdMany(void) {
  static struct rte_mbuf *held[heldCount];
  for (int i = 0; i < heldCount; i++) held[i] = filled();
  for (int i = 0; i < heldCount; i++) one(held[i]);
}

static const struct { const char *name; void (*turn)(void); } operations[] = {
  {"allocate", allocateOne}, {"append", appendOne}, {"prepend", prependOne},
  {"share", shareOne}, {"split", splitOne}, {"pullup", pullUpOne}, {"hold", holdMany},
};

static long long nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int main(int count, char **words) {
  if (count != 3) die("usage: packets-dpdk OPERATION COUNT");
  // Without huge pages DPDK has no use for --in-memory, which it refuses then.
  char *options[] = {words[0], "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=3", "-l", "0", "-m", "128", NULL};
  if (rte_eal_init(sizeof options / sizeof *options - 1, options) < 0) die("DPDK does not start here");
  pool = rte_pktmbuf_pool_create("packets", packets, cached, 0, RTE_MBUF_DEFAULT_BUF_SIZE, (int)rte_socket_id());
  if (!pool) die("no pool");
  for (size_t index = 0; index < sizeof operations / sizeof *operations; index++) {
    if (strcmp(words[1], operations[index].name) != 0) continue;
    long each = operations[index].turn == holdMany ? heldCount : 1, turns = atol(words[2]) / each;
    for (int turn = 0; turn <= 1000 / each; turn++) operations[index].turn();
    long long start = nanoseconds();
    for (long turn = 0; turn < turns; turn++) operations[index].turn();
    printf("ns %lld\nops %ld\n", nanoseconds() - start, turns * each);
    return 0;
  }
  die("no such operation");
}
