// SPDX-License-Identifier: BSD-2-Clause
//
// Packet buffers for C and C++: network data in pieces that are passed on, split, put together and shared without copying (mbuf(9) of
// the BSDs). Part of stave.h. Link with -lstavezones. What is done when memory is refused differs, and is said of each.
//
//   struct stave_mbuf *packet = stave_m_getcl(STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR);
//   stave_m_append(packet, length, bytes);
//   packet = stave_m_prepend(packet, sizeof(struct header), STAVE_NOWAIT);   // null: the packet has been freed
//   struct header *header = stave_mtod(packet, struct header *);
//
// A chain belongs to whoever holds its first mbuf; there is no lock in it. A packet has less than 2 GiB. A range beyond a chain's end, and
// data where there is no room for it, end the process, where nothing else is said. The whole story: stave_mbuf(3).

#ifndef STAVE_MBUF_H
#define STAVE_MBUF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stave_mbuf;

// Flags of mbufs.
enum {
  STAVE_M_EXT = 1 << 0,        // data lies in external storage
  STAVE_M_PKTHDR = 1 << 1,     // the first of a packet
  STAVE_M_EOR = 1 << 2,        // a record ends with it
  STAVE_M_RDONLY = 1 << 3,     // nobody may change its bytes
  STAVE_M_BCAST = 1 << 4,      // was sent to all,
  STAVE_M_MCAST = 1 << 5,      // to a group,
  STAVE_M_PROMISC = 1 << 6,    // or to somebody else
  STAVE_M_VLANTAG = 1 << 7,    // the header's ether_vtag is valid
  STAVE_M_NOFREE = 1 << 8,     // is no item of a zone, and is not freed
  STAVE_M_TSTMP = 1 << 9,      // the header's rcv_tstmp is valid
  STAVE_M_TSTMP_HPREC = 1 << 10,  // and is from a precise clock
  STAVE_M_PROTO1 = 1 << 12,    // the first of eleven that are the caller's, up to 1 << 22
};
// Types of mbufs; others are the caller's affair.
enum { STAVE_MT_DATA = 1, STAVE_MT_SONAME = 8, STAVE_MT_CONTROL = 14, STAVE_MT_OOBDATA = 15, STAVE_MT_NOINIT = 255 };
// Types of storage that can be lent.
enum { STAVE_EXT_SFBUF = 2, STAVE_EXT_MBUF = 7, STAVE_EXT_RXRING = 8, STAVE_EXT_VENDOR1 = 224, STAVE_EXT_EXP1 = 244,
       STAVE_EXT_NET_DRV = 252, STAVE_EXT_MOD_TYPE = 253, STAVE_EXT_DISPOSABLE = 254 };
// Bytes: of an mbuf, of its data without and with a packet header, the least that is worth a cluster, clusters. There are clusters of
// a page, too.
enum { STAVE_MSIZE = 256, STAVE_MLEN = 224, STAVE_MHLEN = 168, STAVE_MINCLSIZE = 169, STAVE_MCLBYTES = 2048, STAVE_MJUM9BYTES = 9216,
       STAVE_MJUM16BYTES = 16384 };
#define STAVE_M_COPYALL (1000000000 * sizeof(char))
// Frees a tag instead of stave_m_tag_free, which it may call.
struct stave_m_tag;
typedef void (*stave_m_tag_free_t)(struct stave_m_tag *tag);

// What is said of a packet as a whole. The caller's, but for tags and len.
struct stave_pkthdr {
  uintptr_t rcvif;        // where it came in
  void *tags;             // the library's
  int32_t len;            // bytes of the packet
  uint32_t flowid;        // one number for the packets of a flow
  uint32_t csum_flags;    // what is known of checksums
  uint16_t ether_vtag;    // the VLAN's tag, with STAVE_M_VLANTAG
  uint8_t rsstype;        // how flowid was computed
  uint8_t cosqos;         // class of service
  int64_t rcv_tstmp;      // nanoseconds
  uintptr_t scratch[2];
};

// The head of a tag; its bytes are behind it: stave_m_tag_data.
struct stave_m_tag {
  struct stave_m_tag *link;  // the library's
  uint16_t id;               // with STAVE_MTAG_PERSISTENT it outlives stave_m_tag_delete_nonpersistent
  uint16_t len;
  uint32_t cookie;           // who knows what it is
  stave_m_tag_free_t free;
};
enum { STAVE_MTAG_PERSISTENT = 0x800 };

// New mbufs, without data. `how` has the flags of stave.h. Null where memory is not to be had or the limit is met; what was got on
// the way has been freed. The first call makes the zones. errno stays.

// With room for STAVE_MLEN bytes; the first of a packet, for STAVE_MHLEN; with a cluster of 2 KiB, from one cache; with one of a size of
// those above, or a page: another ends the process; the smallest that holds `size` bytes in one piece, null beyond a page.
struct stave_mbuf *stave_m_get(int how, int type);
struct stave_mbuf *stave_m_gethdr(int how, int type);
struct stave_mbuf *stave_m_getcl(int how, int type, uint32_t flags);
struct stave_mbuf *stave_m_getjcl(int how, int type, uint32_t flags, size_t size);
struct stave_mbuf *stave_m_get2(size_t size, int how, int type, uint32_t flags);
// Mbufs for `length` bytes behind `chain`, or a new chain; of the flags PKTHDR and EOR count. Null leaves `chain` as it was; no
// bytes: `chain`.
struct stave_mbuf *stave_m_getm2(struct stave_mbuf *chain, size_t length, int how, int type, uint32_t flags);
// The same with PKTHDR.
struct stave_mbuf *stave_m_getm(struct stave_mbuf *chain, size_t length, int how, int type);
// stave_m_free frees one mbuf and returns the rest of its chain; stave_m_freem frees a chain. Null is an empty chain. They never wait.
struct stave_mbuf *stave_m_free(struct stave_mbuf *mbuf);
void stave_m_freem(struct stave_mbuf *chain);

// Attaches a 2 KiB cluster to an mbuf without storage. Returns 1, or 0 if there is none.
int stave_m_clget(struct stave_mbuf *mbuf, int how);
// Allocates a cluster of a size. With an mbuf it is attached; with null, attach it later by stave_m_cljset or free it by stave_m_cljfree.
void *stave_m_cljget(struct stave_mbuf *mbuf, int how, size_t size);
void stave_m_cljset(struct stave_mbuf *mbuf, void *cluster, size_t size);
void stave_m_cljfree(void *cluster, size_t size);
// Lends storage to an mbuf that has none; data begins at its start, and is none yet. free_fn takes it back when the last mbuf that
// shares it has gone, on whatever thread; it must not wait. `flags` are set beside those that the mbuf has: STAVE_M_RDONLY, or 0, as a
// rule; EXT and NOFREE are passed over, and STAVE_M_PKTHDR is only for an mbuf that was made with a packet header.
void stave_m_extadd(struct stave_mbuf *mbuf, void *buffer, uint32_t size, void (*free_fn)(void *buffer, void *arg1, void *arg2), void *arg1,
                    void *arg2, uint32_t flags, int type);
// The same with a count of the lender's, which grows by one; free_fn is called when an mbuf brings it to 0.
void stave_m_extaddref(struct stave_mbuf *mbuf, void *buffer, uint32_t size, uint32_t *count,
                       void (*free_fn)(void *buffer, void *arg1, void *arg2), void *arg1, void *arg2, uint32_t flags);
// An mbuf without storage shares another's, and its data begins where the other's does; how long it is the caller sets. Where that has
// none, or the first has, the process ends.
void stave_m_dupcl(struct stave_mbuf *mbuf, struct stave_mbuf *other);

// Its data as a pointer of a type.
#ifdef __cplusplus
#define stave_mtod(mbuf, pointer) (reinterpret_cast<pointer>(stave_m_data(mbuf)))
#else
#define stave_mtod(mbuf, pointer) ((pointer)stave_m_data(mbuf))
#endif

// Parts of an mbuf: its data and how many bytes of it; the rest of its chain; of a packet the next of its queue; of a chain the last
// mbuf; flags and type; where data may begin and how many bytes lie from there on.
void *stave_m_data(struct stave_mbuf *mbuf);
size_t stave_m_len(struct stave_mbuf *mbuf);
struct stave_mbuf *stave_m_next(struct stave_mbuf *mbuf);
struct stave_mbuf *stave_m_nextpkt(struct stave_mbuf *packet);
struct stave_mbuf *stave_m_last(struct stave_mbuf *chain);
uint32_t stave_m_flags(struct stave_mbuf *mbuf);
int stave_m_type(struct stave_mbuf *mbuf);
void *stave_m_start(struct stave_mbuf *mbuf);
size_t stave_m_size(struct stave_mbuf *mbuf);
// Changes where data begins, and how long it is: within what the storage has.
void stave_m_set_data(struct stave_mbuf *mbuf, void *data, size_t length);
// Changes the mbuf that follows in the chain; the former one is then the caller's.
void stave_m_set_next(struct stave_mbuf *mbuf, struct stave_mbuf *next);
// Sets flags and clears others; EXT, PKTHDR and NOFREE stay as they are.
void stave_m_set_flags(struct stave_mbuf *mbuf, uint32_t set, uint32_t clear);
// Whether its bytes may be changed: nobody shares them, and it is not read-only.
int stave_m_writable(struct stave_mbuf *mbuf);
// Bytes before and behind the data that may be used: none where it is not writable.
size_t stave_m_leadingspace(struct stave_mbuf *mbuf);
size_t stave_m_trailingspace(struct stave_mbuf *mbuf);
// Places the data, of which there is none yet, so that `length` bytes end where the room does, at a multiple of 8.
void stave_m_align(struct stave_mbuf *mbuf, size_t length);

// The header of a packet; null without one.
struct stave_pkthdr *stave_m_pkthdr(struct stave_mbuf *mbuf);
// Moves the header, its tags and flags; `from` is left without.
void stave_m_move_pkthdr(struct stave_mbuf *to, struct stave_mbuf *from);
// Copies the header, its tags and flags. 1, or 0 if there is no memory for the tags: then the header is copied without them.
int stave_m_dup_pkthdr(struct stave_mbuf *to, struct stave_mbuf *from, int how);
// Removes header, tags and next packet from the first mbuf, or from all.
void stave_m_demote(struct stave_mbuf *chain, int all);
// Sets the header's length to that of the chain, and returns it.
size_t stave_m_fixhdr(struct stave_mbuf *packet);

// A new tag, in which a module notes something of a packet, of up to some 32 KiB; null without memory.
struct stave_m_tag *stave_m_tag_alloc(uint32_t cookie, unsigned id, size_t length, int how);
// Frees a tag that is attached to no packet; null does nothing.
void stave_m_tag_free(struct stave_m_tag *tag);
// The bytes of a tag.
void *stave_m_tag_data(struct stave_m_tag *tag);
// Attaches a tag to a packet.
void stave_m_tag_prepend(struct stave_mbuf *packet, struct stave_m_tag *tag);
// The next with that cookie and id behind `after`, or the first.
struct stave_m_tag *stave_m_tag_locate(struct stave_mbuf *packet, uint32_t cookie, unsigned id, struct stave_m_tag *after);
// Detaches a tag, which is then the caller's; detaches and frees it; frees all; frees all but persistent ones.
void stave_m_tag_unlink(struct stave_mbuf *packet, struct stave_m_tag *tag);
void stave_m_tag_delete(struct stave_mbuf *packet, struct stave_m_tag *tag);
void stave_m_tag_delete_chain(struct stave_mbuf *packet);
void stave_m_tag_delete_nonpersistent(struct stave_mbuf *packet);
// A tag with the same id, cookie, bytes and free, attached to no packet; null without memory.
struct stave_m_tag *stave_m_tag_copy(struct stave_m_tag *tag, int how);
// Replaces the tags of `to` by copies of those of `from`. 1, or 0 without memory: then it has none.
int stave_m_tag_copy_chain(struct stave_mbuf *to, struct stave_mbuf *from, int how);

// What returns a new first mbuf frees the whole chain where it fails, and returns null.

// Makes room for `length` bytes before the data, counted in the packet's length: at most STAVE_MHLEN, or STAVE_MLEN without a header.
struct stave_mbuf *stave_m_prepend(struct stave_mbuf *chain, size_t length, int how);
// Brings the first `length` bytes, at most STAVE_MHLEN, together in the first mbuf; does nothing if they are there already, so that they
// may still be read-only: stave_m_writable says so, stave_m_copyup makes them writable.
struct stave_mbuf *stave_m_pullup(struct stave_mbuf *chain, size_t length);
// The same, but always in a new first mbuf, behind `leading` bytes of room.
struct stave_mbuf *stave_m_copyup(struct stave_mbuf *chain, size_t length, size_t leading);
// The bytes from `offset` on, at most 2048, in one piece: its mbuf, and where in its data they begin. If result is null, the bytes begin
// the returned mbuf's data.
struct stave_mbuf *stave_m_pulldown(struct stave_mbuf *chain, size_t offset, size_t length, size_t *result);
// Makes all of the chain writable, by copying what is not.
struct stave_mbuf *stave_m_unshare(struct stave_mbuf *chain, int how);

// If these fail they return null, and the chain stays whole.

// Moves a packet to as few clusters as hold it; the original is freed. A chain without a header is left as it is.
struct stave_mbuf *stave_m_defrag(struct stave_mbuf *packet, int how);
// Reduces a chain to at most `most` mbufs; the first stays the first. If that fails, some of them may have been joined.
struct stave_mbuf *stave_m_collapse(struct stave_mbuf *chain, int how, size_t most);
// Cuts the chain after `length` bytes and returns the rest. Storage that is cut is shared by both. Null also if there are fewer bytes.
struct stave_mbuf *stave_m_split(struct stave_mbuf *chain, size_t length, int how);
// A copy of a range, or of a whole packet, that shares storage, which is then read-only for both; STAVE_M_COPYALL: to the end.
struct stave_mbuf *stave_m_copym(struct stave_mbuf *chain, size_t offset, size_t length, int how);
struct stave_mbuf *stave_m_copypacket(struct stave_mbuf *packet, int how);
// A copy of every byte of a packet, all writable.
struct stave_mbuf *stave_m_dup(struct stave_mbuf *packet, int how);

// Takes bytes off the head, or, if `count` is negative, off the tail.
void stave_m_adj(struct stave_mbuf *chain, long count);
// Puts `other` behind; the length in the header does not change. stave_m_catpkt does the same for two packets and adds up their lengths.
void stave_m_cat(struct stave_mbuf *chain, struct stave_mbuf *other);
void stave_m_catpkt(struct stave_mbuf *packet, struct stave_mbuf *other);
// Copies a range to `buffer`.
void stave_m_copydata(struct stave_mbuf *chain, size_t offset, size_t length, void *buffer);
// Calls `body` with each piece of a range until it returns a value other than 0, and returns its last value.
int stave_m_apply(struct stave_mbuf *chain, size_t offset, size_t length, int (*body)(void *arg, void *data, size_t length), void *arg);
// Finds the mbuf that holds a byte, and the offset in it. At the chain's end: just behind the last byte. Null beyond.
struct stave_mbuf *stave_m_getptr(struct stave_mbuf *chain, size_t offset, size_t *result);
// Bytes of the chain.
size_t stave_m_length(struct stave_mbuf *chain);
// Writes bytes over those of the chain, which grows if it must. Returns how many were written: fewer if there is no memory, or where
// bytes are shared; 0 if a packet cannot reach so far.
size_t stave_m_copyback(struct stave_mbuf *chain, size_t offset, size_t length, const void *bytes);
// Writes bytes behind those of the chain. 1, or 0 without memory: what has been written stays. Also 0, and nothing is written, for more
// bytes than a packet can have.
int stave_m_append(struct stave_mbuf *chain, size_t length, const void *bytes);
// 1 if the chain is sound; with `repair` what can be repaired is.
int stave_m_sanity(struct stave_mbuf *chain, int repair);

// A new packet with a device's bytes, behind `offset` bytes of room, at most STAVE_MHLEN; `copy` where reading is not plain. Null
// without memory.
struct stave_mbuf *stave_m_devget(const void *bytes, size_t length, size_t offset, uintptr_t rcvif,
                                  void (*copy)(const void *from, void *to, size_t length));

// Pieces of memory, one behind the other, and how far that has come.
struct stave_m_uio {
  const struct iovec *iov;  // the piece at hand
  size_t offset;            // in it
  size_t resid;             // bytes left
};
// Begins with the first of so many pieces, which stay where they are.
void stave_m_uio_init(struct stave_m_uio *uio, const struct iovec *pieces, size_t count);
// A chain of the next bytes, all for a length of 0, behind `align` bytes of room, less than STAVE_MHLEN. Null, and nothing is taken,
// without memory.
struct stave_mbuf *stave_m_uiotombuf(struct stave_m_uio *uio, int how, size_t length, size_t align, uint32_t flags);
// Copies the chain's first bytes, all for a length of 0, as many as there is room for: how many.
size_t stave_m_mbuftouio(struct stave_m_uio *uio, struct stave_mbuf *chain, size_t length);

// A queue of packets, without a lock. Its members are the library's.
struct stave_mbufq {
  struct stave_mbuf *first_packet, *last_packet;
  size_t count, most;
};
// An empty queue of `most` packets at most; 0 for no limit.
void stave_mbufq_init(struct stave_mbufq *queue, size_t most);
// The first and the last packet, null for none; how many; whether it is full.
struct stave_mbuf *stave_mbufq_first(struct stave_mbufq *queue);
struct stave_mbuf *stave_mbufq_last(struct stave_mbufq *queue);
size_t stave_mbufq_len(struct stave_mbufq *queue);
int stave_mbufq_full(struct stave_mbufq *queue);
// Puts a packet at the end. 0, or ENOBUFS if the queue is full: then the packet is still the caller's.
int stave_mbufq_enqueue(struct stave_mbufq *queue, struct stave_mbuf *packet);
// Takes the first packet out; null if there is none.
struct stave_mbuf *stave_mbufq_dequeue(struct stave_mbufq *queue);
// Puts a packet back at the front, even if the queue is full.
void stave_mbufq_prepend(struct stave_mbufq *queue, struct stave_mbuf *packet);
// Moves all packets of `other` behind these.
void stave_mbufq_concat(struct stave_mbufq *queue, struct stave_mbufq *other);
// Takes all packets out, linked by stave_m_nextpkt. stave_mbufq_drain frees them.
struct stave_mbuf *stave_mbufq_flush(struct stave_mbufq *queue);
void stave_mbufq_drain(struct stave_mbufq *queue);

// Limits, of what is out and cached; 0, as at first, for none. Mbufs are those asked for alone: of what stave_m_getcl gives the clusters
// alone are counted.
enum { STAVE_MBUF_MBUFS = 1, STAVE_MBUF_CLUSTERS, STAVE_MBUF_JUMBOP, STAVE_MBUF_JUMBO9, STAVE_MBUF_JUMBO16 };
// Sets one of them. 0, or -1 with EINVAL for less than the present one (which is lowered by taking it away first), and, where mbufs have
// a limit, if those of all clusters together were above it then; or with ENOMEM.
int stave_mbuf_set_max(int which, size_t items);
// The present one.
size_t stave_mbuf_get_max(int which);
// Sets all of them, for about so many bytes, to 1 at least; 0 takes all away. 0, or -1 with EINVAL, and nothing changed, where one would be
// lowered; or with ENOMEM.
int stave_mbuf_set_max_bytes(size_t bytes);

struct stave_mbuf_figures { int64_t used, cached, max; };
struct stave_mbuf_requests { int64_t mbufs, clusters, packets, jumbop, jumbo9, jumbo16; };
// What netstat -m shows.
struct stave_mbuf_stat {
  struct stave_mbuf_figures mbufs, clusters, packets, jumbop, jumbo9, jumbo16, bytes;
  struct stave_mbuf_requests denied, delayed;
  int64_t drains, copy_fails, pullup_fails;
};
// Sums over the CPUs. 0, or -1 with ENOMEM.
int stave_mbuf_get_stat(struct stave_mbuf_stat *stat);

#ifdef __cplusplus
}
#endif

#endif
