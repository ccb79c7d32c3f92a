// SPDX-License-Identifier: BSD-2-Clause
//
// Packet buffers as stave_mbuf.h has them: every operation once by hand, then random ones beside a plain array of bytes.

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stave.h>
#include <string.h>

#include "check.h"

static void same(struct stave_mbuf *chain, const void *bytes, size_t length) {
  char *copy = malloc(length + 1);
  CHECK(stave_m_length(chain) == length && stave_m_sanity(chain, 0));
  stave_m_copydata(chain, 0, length, copy);
  CHECK(memcmp(copy, bytes, length) == 0);
  free(copy);
}

static struct stave_mbuf *packetOf(const void *bytes, size_t length) {
  struct stave_mbuf *packet = stave_m_gethdr(STAVE_WAITOK, STAVE_MT_DATA);
  CHECK(packet != NULL && stave_m_append(packet, length, bytes) == 1);
  return packet;
}

static void single(void) {
  struct stave_mbuf *mbuf = stave_m_get(STAVE_NOWAIT, STAVE_MT_CONTROL);
  CHECK(mbuf != NULL && stave_m_size(mbuf) == STAVE_MLEN && stave_m_len(mbuf) == 0 && stave_m_type(mbuf) == STAVE_MT_CONTROL);
  CHECK(stave_m_pkthdr(mbuf) == NULL && stave_m_next(mbuf) == NULL && stave_m_nextpkt(mbuf) == NULL && stave_m_last(mbuf) == mbuf);
  CHECK((uintptr_t)mbuf % STAVE_MSIZE == 0 && stave_m_data(mbuf) == stave_m_start(mbuf) && stave_m_writable(mbuf));
  stave_m_align(mbuf, 20);
  CHECK(stave_m_leadingspace(mbuf) >= STAVE_MLEN - 24 && stave_m_trailingspace(mbuf) >= 20);
  stave_m_set_data(mbuf, (char *)stave_m_start(mbuf) + 8, 16);
  CHECK(stave_m_len(mbuf) == 16 && stave_m_leadingspace(mbuf) == 8);
  stave_m_set_flags(mbuf, STAVE_M_BCAST | STAVE_M_RDONLY | STAVE_M_EXT, 0);
  CHECK(stave_m_flags(mbuf) == (STAVE_M_BCAST | STAVE_M_RDONLY) && !stave_m_writable(mbuf) && stave_m_trailingspace(mbuf) == 0);
  stave_m_set_flags(mbuf, 0, STAVE_M_RDONLY);
  CHECK(stave_m_clget(mbuf, STAVE_NOWAIT) == 1 && stave_m_size(mbuf) == STAVE_MCLBYTES);
  CHECK(stave_m_free(mbuf) == NULL && stave_m_free(NULL) == NULL);
  stave_m_freem(NULL);

  void *cluster = stave_m_cljget(NULL, STAVE_WAITOK, STAVE_MJUM9BYTES);
  CHECK(cluster != NULL);
  stave_m_cljfree(cluster, STAVE_MJUM9BYTES);
  cluster = stave_m_cljget(NULL, STAVE_WAITOK, STAVE_MJUM16BYTES);
  mbuf = stave_m_get(STAVE_WAITOK, STAVE_MT_DATA);
  stave_m_cljset(mbuf, cluster, STAVE_MJUM16BYTES);
  CHECK(stave_m_size(mbuf) == STAVE_MJUM16BYTES && stave_m_data(mbuf) == cluster);
  stave_m_freem(mbuf);
  mbuf = stave_m_getjcl(STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_PKTHDR, STAVE_MJUM9BYTES);
  CHECK(mbuf != NULL && stave_m_size(mbuf) == STAVE_MJUM9BYTES && (stave_m_flags(mbuf) & STAVE_M_EXT));
  stave_m_freem(mbuf);
  mbuf = stave_m_get2(100, STAVE_WAITOK, STAVE_MT_DATA, 0);
  CHECK(mbuf != NULL && stave_m_size(mbuf) == STAVE_MLEN && stave_m_get2(1 << 20, STAVE_WAITOK, STAVE_MT_DATA, 0) == NULL);
  struct stave_mbuf *chain = stave_m_getm2(mbuf, 5000, STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_EOR);
  CHECK(chain == mbuf && stave_m_next(chain) != NULL && (stave_m_flags(stave_m_last(chain)) & STAVE_M_EOR));
  stave_m_set_next(chain, stave_m_free(stave_m_next(chain)));
  CHECK(stave_m_getm(chain, 0, STAVE_WAITOK, STAVE_MT_DATA) == chain && stave_m_getm(chain, 3000, STAVE_WAITOK, STAVE_MT_DATA) == chain);
  CHECK(stave_m_pkthdr(chain) == NULL && stave_m_pkthdr(stave_m_next(chain)) == NULL && stave_m_getm(chain, SIZE_MAX, STAVE_WAITOK, STAVE_MT_DATA) == NULL);
  stave_m_freem(chain);
  chain = stave_m_getm(NULL, 5000, STAVE_WAITOK, STAVE_MT_CONTROL);
  CHECK(chain != NULL && stave_m_pkthdr(chain) != NULL && stave_m_length(chain) == 0 && stave_m_type(stave_m_last(chain)) == STAVE_MT_CONTROL);
  size_t room = 0;
  for (struct stave_mbuf *one = chain; one != NULL; one = stave_m_next(one)) room += stave_m_size(one);
  CHECK(room >= 5000 && stave_m_next(chain) != NULL && stave_m_pkthdr(stave_m_next(chain)) == NULL);
  stave_m_freem(chain);
}

static int lentBack;
static void takeBack(void *buffer, void *arg1, void *arg2) { CHECK(buffer == arg1 && arg2 == &lentBack), lentBack++; }
static void storage(void) {
  static char lent[3000] __attribute__((aligned(64)));
  struct stave_mbuf *mbuf = stave_m_gethdr(STAVE_WAITOK, STAVE_MT_DATA), *sharer = stave_m_get(STAVE_WAITOK, STAVE_MT_DATA);
  stave_m_extadd(mbuf, lent, sizeof lent, takeBack, lent, &lentBack, 0, STAVE_EXT_NET_DRV);
  CHECK(stave_m_append(mbuf, 4, "lent") && memcmp(lent, "lent", 4) == 0);
  stave_m_dupcl(sharer, mbuf);
  CHECK(stave_m_data(sharer) == (void *)lent && !stave_m_writable(mbuf) && !stave_m_writable(sharer));
  stave_m_freem(mbuf);
  CHECK(lentBack == 0);
  stave_m_freem(sharer);
  CHECK(lentBack == 1);
  uint32_t count = 1;
  mbuf = stave_m_get(STAVE_WAITOK, STAVE_MT_DATA);
  stave_m_extaddref(mbuf, lent, sizeof lent, &count, takeBack, lent, &lentBack, STAVE_M_RDONLY);
  CHECK(count == 2 && !stave_m_writable(mbuf));
  stave_m_freem(mbuf);
  CHECK(count == 1 && lentBack == 1);
}

static int shout(void *arg, void *data, size_t length) {
  char *bytes = data, **to = arg;
  for (size_t index = 0; index < length; index++) *(*to)++ = (char)(bytes[index] ^ 32);
  return 0;
}
static void chains(void) {
  static char bytes[5000];
  for (size_t index = 0; index < sizeof bytes; index++) bytes[index] = (char)('a' + index % 26);
  struct stave_mbuf *packet = packetOf(bytes, sizeof bytes);
  struct stave_pkthdr *header = stave_m_pkthdr(packet);
  CHECK(header != NULL && header->len == 5000);
  header->rcvif = 77, header->flowid = 9, header->ether_vtag = 3, header->rcv_tstmp = -1;
  same(packet, bytes, 5000);

  packet = stave_m_prepend(packet, 14, STAVE_WAITOK);
  CHECK(packet != NULL && stave_m_pkthdr(packet)->len == 5014 && stave_m_pkthdr(packet)->rcvif == 77);
  stave_m_adj(packet, 14), stave_m_adj(packet, -1000);
  same(packet, bytes, 4000);
  struct stave_mbuf *copy = stave_m_copym(packet, 0, STAVE_M_COPYALL, STAVE_WAITOK), *part = stave_m_copym(packet, 100, 50, STAVE_WAITOK);
  CHECK(stave_m_pkthdr(copy)->flowid == 9 && stave_m_pkthdr(copy)->ether_vtag == 3);
  same(copy, bytes, 4000), same(part, bytes + 100, 50);
  struct stave_mbuf *tail = stave_m_split(copy, 1500, STAVE_WAITOK);
  CHECK(tail != NULL && stave_m_pkthdr(tail)->len == 2500 && stave_m_pkthdr(copy)->len == 1500 && stave_m_pkthdr(tail)->rcvif == 77);
  CHECK(stave_m_split(copy, 1501, STAVE_WAITOK) == NULL);
  same(tail, bytes + 1500, 2500);
  stave_m_catpkt(copy, tail);
  same(copy, bytes, 4000);
  stave_m_cat(copy, part);
  CHECK(stave_m_fixhdr(copy) == 4050 && stave_m_pkthdr(copy)->len == 4050);
  stave_m_adj(copy, -50);
  copy = stave_m_pullup(copy, 100);
  CHECK(copy != NULL && stave_m_len(copy) >= 100 && memcmp(stave_m_data(copy), bytes, 100) == 0);
  copy = stave_m_copyup(copy, 60, 20);
  CHECK(copy != NULL && stave_m_len(copy) >= 60 && stave_m_leadingspace(copy) == 20);
  size_t offset = 99999;
  struct stave_mbuf *place = stave_m_pulldown(copy, 1000, 700, &offset);
  CHECK(place != NULL && stave_m_len(place) >= offset + 700 && memcmp(stave_mtod(place, char *) + offset, bytes + 1000, 700) == 0);
  place = stave_m_pulldown(copy, 500, 10, NULL);
  CHECK(place != NULL && memcmp(stave_m_data(place), bytes + 500, 10) == 0);
  place = stave_m_getptr(copy, 3999, &offset);
  CHECK(place != NULL && stave_mtod(place, char *)[offset] == bytes[3999] && stave_m_getptr(copy, 4001, &offset) == NULL);
  copy = stave_m_unshare(copy, STAVE_WAITOK);
  for (struct stave_mbuf *one = copy; one != NULL; one = stave_m_next(one)) CHECK(stave_m_writable(one));
  same(copy, bytes, 4000);
  copy = stave_m_collapse(copy, STAVE_WAITOK, 4);
  CHECK(copy != NULL);
  copy = stave_m_defrag(copy, STAVE_WAITOK);
  CHECK(copy != NULL && stave_m_next(stave_m_next(copy)) == NULL);
  same(copy, bytes, 4000);
  struct stave_mbuf *whole = stave_m_copypacket(packet, STAVE_WAITOK), *own = stave_m_dup(packet, STAVE_WAITOK);
  same(whole, bytes, 4000), same(own, bytes, 4000);
  CHECK(stave_m_copyback(own, 3998, 4, "WXYZ") == 4 && stave_m_length(own) == 4002);
  char upper[10], *to = upper;
  CHECK(stave_m_apply(packet, 500, 10, shout, &to) == 0 && to == upper + 10);
  for (int index = 0; index < 10; index++) CHECK(upper[index] == (bytes[500 + index] ^ 32));
  stave_m_freem(whole), stave_m_freem(own), stave_m_freem(copy);
  // Refused: the chain is gone, and nothing is left of it (the end of this program counts).
  CHECK(stave_m_pullup(packet, 5000) == NULL);

  struct stave_mbuf *to1 = stave_m_get(STAVE_WAITOK, STAVE_MT_DATA), *from = packetOf("x", 1);
  stave_m_move_pkthdr(to1, from);
  CHECK(stave_m_pkthdr(to1) != NULL && stave_m_pkthdr(from) == NULL);
  struct stave_mbuf *third = stave_m_get(STAVE_WAITOK, STAVE_MT_DATA);
  CHECK(stave_m_dup_pkthdr(third, to1, STAVE_WAITOK) == 1 && stave_m_pkthdr(third) != NULL && stave_m_pkthdr(to1) != NULL);
  stave_m_demote(third, 1);
  CHECK(stave_m_pkthdr(third) == NULL);
  stave_m_freem(to1), stave_m_freem(from), stave_m_freem(third);
}

static int tagsFreed;
static void freeTag(struct stave_m_tag *tag) { tagsFreed++, stave_m_tag_free(tag); }

// Whose header is replaced loses its tags.
static void replaced(void) {
  struct stave_mbuf *to = stave_m_gethdr(STAVE_WAITOK, STAVE_MT_DATA), *from = stave_m_gethdr(STAVE_WAITOK, STAVE_MT_DATA);
  struct stave_m_tag *tag = stave_m_tag_alloc(4711, 3, 1000, STAVE_WAITOK);
  CHECK(tag != NULL);
  tag->free = freeTag;
  stave_m_tag_prepend(to, tag);
  stave_m_move_pkthdr(to, to);
  CHECK(stave_m_dup_pkthdr(to, to, STAVE_NOWAIT) == 1 && tagsFreed == 0 && stave_m_tag_locate(to, 4711, 3, NULL) == tag);
  stave_m_move_pkthdr(to, from);
  CHECK(tagsFreed == 1 && stave_m_tag_locate(to, 4711, 3, NULL) == NULL);
  stave_m_freem(to), stave_m_freem(from);
  tagsFreed = 0;
}

static void tags(void) {
  replaced();
  struct stave_mbuf *packet = packetOf("tagged", 6), *other = packetOf("other", 5);
  struct stave_m_tag *tag = stave_m_tag_alloc(4711, 1, 32, STAVE_WAITOK), *lasting = stave_m_tag_alloc(4711, 2 | STAVE_MTAG_PERSISTENT, 8, STAVE_WAITOK);
  CHECK(tag != NULL && tag->len == 32 && tag->id == 1 && tag->cookie == 4711 && tag->free == NULL);
  tag->free = freeTag;
  memset(stave_m_tag_data(tag), 6, 32);
  stave_m_tag_prepend(packet, tag), stave_m_tag_prepend(packet, lasting);
  CHECK(stave_m_tag_locate(packet, 4711, 1, NULL) == tag && stave_m_tag_locate(packet, 4711, 1, tag) == NULL && stave_m_tag_locate(packet, 1, 1, NULL) == NULL);
  CHECK(stave_m_tag_copy_chain(other, packet, STAVE_WAITOK) == 1);
  struct stave_m_tag *copy = stave_m_tag_locate(other, 4711, 1, NULL);
  CHECK(copy != NULL && copy != tag && *(char *)stave_m_tag_data(copy) == 6);
  struct stave_m_tag *loose = stave_m_tag_copy(tag, STAVE_WAITOK);
  CHECK(loose != NULL && loose != tag && loose->id == 1 && loose->cookie == 4711 && loose->len == 32 && loose->free == freeTag);
  CHECK(memcmp(stave_m_tag_data(loose), stave_m_tag_data(tag), 32) == 0 && stave_m_tag_locate(packet, 4711, 1, tag) == NULL);
  stave_m_tag_free(loose);
  stave_m_tag_delete_nonpersistent(packet);
  CHECK(tagsFreed == 1 && stave_m_tag_locate(packet, 4711, 1, NULL) == NULL);
  stave_m_tag_unlink(packet, lasting);
  stave_m_tag_free(lasting), stave_m_tag_free(NULL);
  stave_m_tag_delete(other, copy);
  CHECK(tagsFreed == 2);
  stave_m_tag_delete_chain(other);
  stave_m_freem(packet), stave_m_freem(other);
}

static void transfers(void) {
  char in[3000], out[3000] = {0};
  for (size_t index = 0; index < sizeof in; index++) in[index] = (char)draw(256);
  struct iovec pieces[3] = {{in, 1}, {in + 1, 2000}, {in + 2001, 999}}, places[2] = {{out, 1500}, {out + 1500, 1500}};
  struct stave_m_uio from, to;
  stave_m_uio_init(&from, pieces, 3), stave_m_uio_init(&to, places, 2);
  CHECK(from.resid == 3000);
  struct stave_mbuf *packet = stave_m_uiotombuf(&from, STAVE_WAITOK, 0, 40, STAVE_M_PKTHDR);
  CHECK(packet != NULL && from.resid == 0 && stave_m_leadingspace(packet) == 40 && stave_m_pkthdr(packet)->len == 3000);
  CHECK(stave_m_mbuftouio(&to, packet, 0) == 3000 && to.resid == 0 && memcmp(in, out, 3000) == 0);
  stave_m_freem(packet);
  packet = stave_m_devget(in, 1000, 2, 5, NULL);
  CHECK(packet != NULL && stave_m_pkthdr(packet)->rcvif == 5);
  same(packet, in, 1000);
  stave_m_freem(packet);
}

static void queues(void) {
  struct stave_mbufq queue, other;
  stave_mbufq_init(&queue, 2), stave_mbufq_init(&other, 0);
  struct stave_mbuf *one = packetOf("1", 1), *two = packetOf("2", 1), *three = packetOf("3", 1);
  CHECK(stave_mbufq_dequeue(&queue) == NULL && stave_mbufq_enqueue(&queue, one) == 0 && stave_mbufq_enqueue(&queue, two) == 0);
  CHECK(stave_mbufq_full(&queue) && stave_mbufq_enqueue(&queue, three) == ENOBUFS);
  CHECK(stave_mbufq_first(&queue) == one && stave_mbufq_last(&queue) == two && stave_m_nextpkt(one) == two);
  CHECK(stave_mbufq_dequeue(&queue) == one);
  stave_mbufq_prepend(&queue, one);
  CHECK(stave_mbufq_enqueue(&other, three) == 0);
  stave_mbufq_concat(&queue, &other);
  CHECK(stave_mbufq_len(&queue) == 3 && stave_mbufq_len(&other) == 0 && stave_mbufq_flush(&queue) == one && stave_mbufq_len(&queue) == 0);
  stave_mbufq_init(&queue, 0);
  CHECK(stave_mbufq_enqueue(&queue, one) == 0 && stave_mbufq_enqueue(&queue, two) == 0);
  stave_m_freem(three);
  stave_mbufq_drain(&queue);
}

// Clusters that are free with their mbufs are had at the limit by who does not wait.
static void clusters(void) {
  cpu_set_t all, one;
  CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  stave_zone_reclaim(NULL, STAVE_RECLAIM_DRAIN_CPU);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 50) == 0);
  struct stave_mbuf *held[56];
  for (int index = 0; index < 50; index++) CHECK((held[index] = stave_m_getcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR)) != NULL);
  for (int index = 0; index < 50; index++) stave_m_freem(held[index]);
  struct stave_mbuf_stat before, after, later;
  CHECK(stave_mbuf_get_stat(&before) == 0 && before.clusters.used == 0);
  for (int index = 0; index < 56; index++) CHECK((held[index] = stave_m_get(STAVE_WAITOK, STAVE_MT_DATA)) != NULL);
  for (int index = 0; index < 50; index++) CHECK(stave_m_clget(held[index], STAVE_NOWAIT) == 1);
  CHECK(stave_mbuf_get_stat(&after) == 0 && after.clusters.used == 50);
  CHECK((after.drains > before.drains) == (before.packets.cached > 0) && after.drains <= before.drains + 2);
  // A drain that would give nothing back is none.
  for (int index = 50; index < 56; index++) CHECK(stave_m_clget(held[index], STAVE_NOWAIT) == 0);
  CHECK(stave_mbuf_get_stat(&later) == 0 && later.drains == after.drains);
  for (int index = 0; index < 56; index++) stave_m_freem(held[index]);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_CLUSTERS, 0) == 0 && sched_setaffinity(0, sizeof all, &all) == 0);
}

static void limits(void) {
  CHECK(stave_mbuf_get_max(STAVE_MBUF_JUMBO16) == 0 && stave_mbuf_set_max(STAVE_MBUF_JUMBO16, 2) == 0 && stave_mbuf_get_max(STAVE_MBUF_JUMBO16) == 2);
  struct stave_mbuf *held[2];
  for (int index = 0; index < 2; index++) CHECK((held[index] = stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, 0, STAVE_MJUM16BYTES)) != NULL);
  CHECK(stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, 0, STAVE_MJUM16BYTES) == NULL);
  struct stave_mbuf_stat stat;
  CHECK(stave_mbuf_get_stat(&stat) == 0 && stat.jumbo16.used == 2 && stat.jumbo16.max == 2 && stat.denied.jumbo16 == 1);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_JUMBO16, 1) == -1 && errno == EINVAL && stave_mbuf_set_max(99, 1) == -1 && errno == EINVAL);
  stave_m_freem(held[0]), stave_m_freem(held[1]);
  CHECK(stave_mbuf_set_max(STAVE_MBUF_JUMBO16, 0) == 0 && stave_mbuf_set_max_bytes((size_t)1 << 30) == 0 && stave_mbuf_get_max(STAVE_MBUF_MBUFS) > 0);
}

// Lengths that no chain has, of which many have been less than 0: refused, and the chain is what it was, or gone where that is said.
static int refusedPullUps;
static void refuse(struct stave_mbuf *packet, size_t length) {
  static const size_t far[] = {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX - 29, (size_t)1 << 63, SIZE_MAX >> 1, (size_t)1 << 62, (size_t)1 << 40, (size_t)1 << 31};
  size_t value = far[draw(sizeof far / sizeof *far)], near = (size_t)draw(length + 1), place;
  CHECK(stave_m_split(packet, value, STAVE_WAITOK) == NULL && stave_m_getptr(packet, value, &place) == NULL);
  CHECK(stave_m_copyback(packet, value, 4, "wxyz") == 0 && stave_m_copyback(packet, near, value, "wxyz") == 0);
  CHECK(stave_m_append(packet, value, "wxyz") == 0 && stave_m_getm2(packet, value, STAVE_WAITOK, STAVE_MT_DATA, 0) == NULL);
  CHECK(stave_m_collapse(packet, STAVE_WAITOK, value) == packet);
  struct stave_mbuf *copy = stave_m_copypacket(packet, STAVE_WAITOK);
  switch (draw(5)) {
    case 0: copy = stave_m_prepend(copy, value, STAVE_WAITOK); break;
    case 1: copy = stave_m_pullup(copy, value), refusedPullUps++; break;
    case 2: copy = draw(2) ? stave_m_copyup(copy, value, 4) : stave_m_copyup(copy, 4, value), refusedPullUps++; break;
    case 3: copy = draw(2) ? stave_m_pulldown(copy, value, 4, &place) : stave_m_pulldown(copy, near, value, &place), refusedPullUps++; break;
    default:
      stave_m_adj(copy, draw(2) ? LONG_MIN : LONG_MAX);
      CHECK(stave_m_length(copy) == 0 && stave_m_pkthdr(copy)->len == 0);
      stave_m_freem(copy), copy = NULL;
  }
  CHECK(copy == NULL);
}

// A chain, and the bytes that it must have.
static void random_operations(unsigned long steps) {
  enum { most = 20000 };
  static char model[2 * most], more[most];
  size_t length = 0;
  struct stave_mbuf *packet = packetOf("", 0);
  for (unsigned long step = 0; step < steps; step++) {
    size_t count = (size_t)draw(draw(4) == 0 ? 3000 : 200);
    for (size_t index = 0; index < count; index++) more[index] = (char)draw(256);
    switch (draw(11)) {
      case 0: case 1:
        if (length + count > most) break;
        CHECK(stave_m_append(packet, count, more));
        memcpy(model + length, more, count), length += count;
        break;
      case 2:
        count %= STAVE_MHLEN;
        if (length + count > most) break;
        packet = stave_m_prepend(packet, count, STAVE_WAITOK);
        CHECK(packet != NULL && stave_m_copyback(packet, 0, count, more) == count);
        memmove(model + count, model, length), memcpy(model, more, count), length += count;
        break;
      case 3:
        count = length == 0 ? 0 : (size_t)draw(length + 1);
        stave_m_adj(packet, (long)count);
        memmove(model, model + count, length - count), length -= count;
        break;
      case 4:
        count = length == 0 ? 0 : (size_t)draw(length + 1) / 4;
        if (count > 0) stave_m_adj(packet, -(long)count), length -= count;
        break;
      case 5: {
        size_t cut = (size_t)draw(length + 1);
        struct stave_mbuf *tail = stave_m_split(packet, cut, STAVE_WAITOK);
        CHECK(tail != NULL);
        same(packet, model, cut), same(tail, model + cut, length - cut);
        stave_m_catpkt(packet, tail);
        break;
      }
      case 6: {
        struct stave_mbuf *copy = draw(2) ? stave_m_copypacket(packet, STAVE_WAITOK) : stave_m_dup(packet, STAVE_WAITOK);
        CHECK(copy != NULL);
        if (draw(2)) { struct stave_mbuf *old = packet; packet = copy, copy = old; }
        same(copy, model, length);
        stave_m_freem(copy);
        break;
      }
      case 7:
        count = length < STAVE_MHLEN ? length : STAVE_MHLEN;
        packet = stave_m_pullup(packet, count);
        CHECK(packet != NULL && stave_m_len(packet) >= count);
        break;
      case 8:
        packet = draw(2) ? stave_m_unshare(packet, STAVE_WAITOK) : stave_m_defrag(packet, STAVE_WAITOK);
        CHECK(packet != NULL);
        break;
      case 9: refuse(packet, length); break;
      default:
        packet = stave_m_unshare(packet, STAVE_WAITOK);
        if (length == 0) break;
        size_t offset = (size_t)draw(length);
        if (offset + count > most) break;
        CHECK(stave_m_copyback(packet, offset, count, more) == count);
        memcpy(model + offset, more, count);
        if (offset + count > length) length = offset + count;
    }
    same(packet, model, length);
    CHECK((size_t)stave_m_pkthdr(packet)->len == length);
  }
  stave_m_freem(packet);
}

int main(int count, char **arguments) {
  if (count > 2) lot = strtoull(arguments[2], NULL, 10) | 1;
  single();
  storage();
  chains();
  tags();
  transfers();
  queues();
  random_operations(count > 1 ? strtoul(arguments[1], NULL, 10) : 2000);
  struct stave_mbuf_stat stat;
  CHECK(stave_mbuf_get_stat(&stat) == 0);
  CHECK(stat.mbufs.used == 0 && stat.clusters.used == 0 && stat.jumbop.used == 0 && stat.jumbo9.used == 0 && stat.jumbo16.used == 0 && stat.bytes.used == 0);
  CHECK(stat.pullup_fails == 1 + refusedPullUps && stat.mbufs.cached > 0);
  clusters();
  limits();
  puts("fine");
  return 0;
}
