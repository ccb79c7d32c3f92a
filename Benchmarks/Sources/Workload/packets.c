// SPDX-License-Identifier: BSD-2-Clause
//
// packet-OPERATION: what operations on packets of 512 bytes cost, on Stave's packet buffers; each packet is made before and freed behind,
// and both count. `allocate` is that alone, without bytes; `append` puts the bytes in; `prepend` also a header of 40 before them;
// `share` also has a second packet of the same bytes; `split` also cuts it in the middle; `pullup` puts a header and bytes of two
// packets together, and wants 128 bytes of them in one piece; `hold` appends to 8,000 packets before it frees the first.
// packets-dpdk.c and the example packet-speed do the same on other buffers.

#include "workload.h"
#include "zones.h"

enum { byteCount = 512, headerBytes = 40, roomBefore = 64, heldCount = 8000 };

static unsigned char bytes[byteCount];

typedef struct stave_mbuf Packet;

// The calls, in registers or not as the compiler likes.
static struct {
  __typeof__(stave_m_getcl) *getcl;
  __typeof__(stave_m_freem) *freem;
  __typeof__(stave_m_append) *append;
  __typeof__(stave_m_prepend) *prepend;
  __typeof__(stave_m_copypacket) *share;
  __typeof__(stave_m_split) *split;
  __typeof__(stave_m_catpkt) *join;
  __typeof__(stave_m_pullup) *pullup;
  __typeof__(stave_m_gethdr) *gethdr;
  __typeof__(stave_m_align) *align;
} call;

static inline Packet *checked(Packet *packet) {
  if (!packet) die("out of memory");
  return packet;
}

static inline Packet *made(void) { return checked(call.getcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR)); }

/// With its bytes.
static inline Packet *filled(void) {
  Packet *packet = made();
  if (!call.append(packet, byteCount, bytes)) die("out of memory");
  return packet;
}

static inline void one(Packet *packet) {
  keep(packet);
  call.freem(packet);
}

static void allocateOne(void) { one(made()); }
static void appendOne(void) { one(filled()); }

static void prependOne(void) {
  Packet *packet = made();
  call.align(packet, byteCount + roomBefore);
  if (!call.append(packet, byteCount, bytes)) die("out of memory");
  one(checked(call.prepend(packet, headerBytes, STAVE_NOWAIT)));
}

static void shareOne(void) {
  Packet *packet = filled(), *other = checked(call.share(packet, STAVE_NOWAIT));
  one(packet);
  one(other);
}

static void splitOne(void) {
  Packet *packet = filled(), *rest = checked(call.split(packet, byteCount / 2, STAVE_NOWAIT));
  one(packet);
  one(rest);
}

static void pullUpOne(void) {
  Packet *header = checked(call.gethdr(STAVE_NOWAIT, STAVE_MT_DATA));
  if (!call.append(header, headerBytes, bytes)) die("out of memory");
  call.join(header, filled());
  one(checked(call.pullup(header, 128)));
}

static void holdMany(void) {
  static Packet *held[heldCount];
  for (int i = 0; i < heldCount; i++) held[i] = filled();
  for (int i = 0; i < heldCount; i++) one(held[i]);
}

static void measure(Run *run, void (*turn)(void), uint64_t each) {
  call.getcl = foundCall("stave_m_getcl");
  call.freem = foundCall("stave_m_freem");
  call.append = foundCall("stave_m_append");
  call.prepend = foundCall("stave_m_prepend");
  call.share = foundCall("stave_m_copypacket");
  call.split = foundCall("stave_m_split");
  call.join = foundCall("stave_m_catpkt");
  call.pullup = foundCall("stave_m_pullup");
  call.gethdr = foundCall("stave_m_gethdr");
  call.align = foundCall("stave_m_align");
  uint64_t count = scaled(run, 10000000 / each);
  for (uint64_t i = 0; i <= 1000 / each; i++) turn();
  begin(run);
  for (uint64_t i = 0; i < count; i++) turn();
  end(run);
  run->ops = count * each;
  run->checksum = run->ops;
}

void packetAllocate(Run *run) { measure(run, allocateOne, 1); }
void packetAppend(Run *run) { measure(run, appendOne, 1); }
void packetPrepend(Run *run) { measure(run, prependOne, 1); }
void packetShare(Run *run) { measure(run, shareOne, 1); }
void packetSplit(Run *run) { measure(run, splitOne, 1); }
void packetPullUp(Run *run) { measure(run, pullUpOne, 1); }
void packetHold(Run *run) { measure(run, holdMany, heldCount); }
