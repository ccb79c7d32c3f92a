// SPDX-License-Identifier: BSD-2-Clause
//
// Packet buffers asked for what cannot be: lengths, offsets and counts that no chain has, negative numbers that have become a size_t, mbufs
// of the wrong kind. Each case is a process of its own, and either is refused as stave_mbuf.h says, or ends with a report. No case may
// end in any other way.

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stave.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static const size_t values[] = {SIZE_MAX, SIZE_MAX - 3, SIZE_MAX - 7, SIZE_MAX - 29, (size_t)1 << 63, ((size_t)1 << 63) - 1, (size_t)1 << 62,
                                (size_t)1 << 40, ((size_t)1 << 32) + 1, (size_t)1 << 31};
static const char bytes[] = "abcdefghijklmnopqrst";
enum { length = 20 };

// 20 bytes, with 8 of room before them.
static struct stave_mbuf *chain(void) {
  struct stave_mbuf *packet = stave_m_gethdr(STAVE_WAITOK, STAVE_MT_DATA);
  CHECK(packet != NULL && stave_m_append(packet, 8, "........") && stave_m_append(packet, length, bytes));
  stave_m_adj(packet, 8);
  return packet;
}
// The same in two mbufs, the first of which is full.
static struct stave_mbuf *longer(void) {
  struct stave_mbuf *packet = chain();
  for (int count = 0; count < 10; count++) CHECK(stave_m_append(packet, length, bytes));
  return packet;
}
static void intact(struct stave_mbuf *packet) {
  char copy[length];
  CHECK(stave_m_length(packet) == length && stave_m_pkthdr(packet)->len == length && stave_m_sanity(packet, 0));
  stave_m_copydata(packet, 0, length, copy);
  CHECK(memcmp(copy, bytes, length) == 0);
  stave_m_freem(packet);
}

// What frees the chain.
static void prepend(size_t value) { CHECK(stave_m_prepend(chain(), value, STAVE_NOWAIT) == NULL); }
static void pullup(size_t value) { CHECK(stave_m_pullup(chain(), value) == NULL && stave_m_pullup(longer(), value) == NULL); }
static void copyup(size_t value) {
  CHECK(stave_m_copyup(chain(), value, 0) == NULL && stave_m_copyup(chain(), 4, value) == NULL && stave_m_copyup(chain(), value, value) == NULL);
}
static void pulldown(size_t value) {
  size_t place;
  CHECK(stave_m_pulldown(chain(), value, 4, &place) == NULL && stave_m_pulldown(chain(), 4, value, NULL) == NULL);
  CHECK(stave_m_pulldown(longer(), value, value, &place) == NULL);
}

// What leaves it.
static void split(size_t value) {
  struct stave_mbuf *packet = chain();
  CHECK(stave_m_split(packet, value, STAVE_NOWAIT) == NULL);
  intact(packet);
}
static void getptr(size_t value) {
  struct stave_mbuf *packet = chain();
  size_t place;
  CHECK(stave_m_getptr(packet, value, &place) == NULL);
  intact(packet);
}
static void copyback(size_t value) {
  struct stave_mbuf *packet = chain();
  CHECK(stave_m_copyback(packet, value, 8, "XXXXXXXX") == 0 && stave_m_copyback(packet, 4, value, "X") == 0);
  CHECK(stave_m_copyback(packet, value, value, "X") == 0 && stave_m_copyback(packet, 0, value, "X") == 0);
  intact(packet);
}
static void append(size_t value) {
  struct stave_mbuf *packet = chain();
  CHECK(stave_m_append(packet, value, "X") == 0);
  intact(packet);
}
static void getm2(size_t value) {
  struct stave_mbuf *packet = chain();
  CHECK(stave_m_getm2(NULL, value, STAVE_NOWAIT, STAVE_MT_DATA, STAVE_M_PKTHDR) == NULL);
  CHECK(stave_m_getm2(packet, value, STAVE_WAITOK, STAVE_MT_DATA, STAVE_M_EOR) == NULL && stave_m_next(packet) == NULL);
  CHECK(stave_m_getm(packet, value, STAVE_WAITOK, STAVE_MT_DATA) == NULL && stave_m_getm(NULL, value, STAVE_WAITOK, STAVE_MT_DATA) == NULL);
  intact(packet);
}
static void get2(size_t value) { CHECK(stave_m_get2(value, STAVE_NOWAIT, STAVE_MT_DATA, 0) == NULL); }
static void devget(size_t value) {
  CHECK(stave_m_devget(bytes, value, 0, 0, NULL) == NULL && stave_m_devget(bytes, 4, value, 0, NULL) == NULL);
  CHECK(stave_m_devget(bytes, value, 168, 0, NULL) == NULL);
}
static void tag(size_t value) { CHECK(stave_m_tag_alloc(1, 1, value, STAVE_NOWAIT) == NULL); }
static void uio(size_t value) {
  char room[length];
  struct iovec piece = {(void *)(uintptr_t)bytes, length}, place = {room, length};
  struct stave_m_uio from, to;
  stave_m_uio_init(&from, &piece, 1);
  CHECK(stave_m_uiotombuf(&from, STAVE_NOWAIT, 4, value, STAVE_M_PKTHDR) == NULL && from.resid == length);
  // More than there is: all.
  struct stave_mbuf *packet = stave_m_uiotombuf(&from, STAVE_NOWAIT, value, 0, STAVE_M_PKTHDR);
  CHECK(packet != NULL && from.resid == 0);
  stave_m_uio_init(&to, &place, 1);
  CHECK(stave_m_mbuftouio(&to, packet, value) == length && memcmp(room, bytes, length) == 0);
  intact(packet);
  // A transfer of more than a chain can be.
  piece.iov_len = SSIZE_MAX < value ? SSIZE_MAX : value;
  stave_m_uio_init(&from, &piece, 1);
  CHECK(stave_m_uiotombuf(&from, STAVE_NOWAIT, 0, 167, STAVE_M_PKTHDR) == NULL && from.resid == piece.iov_len);
}
static void collapse(size_t value) {
  struct stave_mbuf *packet = chain();
  CHECK(stave_m_collapse(packet, STAVE_NOWAIT, value) == packet);
  intact(packet);
}
static void adj(size_t value) {
  struct stave_mbuf *packet = longer();
  stave_m_adj(packet, (long)value < 0 ? (long)value : -(long)value);
  size_t left = (size_t)11 * length, gone = (long)value < 0 ? 0 - value : value;
  left = gone > left ? 0 : left - gone;
  CHECK(stave_m_length(packet) == left && stave_m_pkthdr(packet)->len == (int32_t)left && stave_m_sanity(packet, 0));
  stave_m_freem(packet);
  packet = longer();
  stave_m_adj(packet, value << 1 == 0 ? LONG_MAX : (long)(value & LONG_MAX));
  CHECK(stave_m_length(packet) == 0 && stave_m_pkthdr(packet)->len == 0 && stave_m_sanity(packet, 0));
  stave_m_freem(packet);
}
static void queue(size_t value) {
  struct stave_mbufq packets;
  stave_mbufq_init(&packets, value);
  CHECK(!stave_mbufq_full(&packets) && stave_mbufq_enqueue(&packets, chain()) == 0 && stave_mbufq_len(&packets) == 1);
  stave_mbufq_drain(&packets);
}
static void limits(size_t value) {
  for (int which = STAVE_MBUF_MBUFS; which <= STAVE_MBUF_JUMBO16; which++) {
    errno = 0;
    int result = stave_mbuf_set_max(which, value);
    CHECK(value > SSIZE_MAX ? result == -1 && errno == EINVAL : result == 0);
    CHECK(stave_mbuf_get_max(which) >= (result == 0 ? (size_t)1 << 31 : 0) && stave_mbuf_set_max(which, 0) == 0);
  }
  errno = 0;
  CHECK(value > SSIZE_MAX ? stave_mbuf_set_max_bytes(value) == -1 && errno == EINVAL : stave_mbuf_set_max_bytes(value) == 0);
  CHECK((stave_mbuf_get_max(STAVE_MBUF_JUMBO16) > 0) == (value <= SSIZE_MAX));
}

// Mistakes that nothing can be answered to.
static char room[64];
static int visit(void *arg, void *data, size_t count) { return (void)arg, (void)data, (void)count, 0; }
static void taken(void *buffer, void *arg1, void *arg2) { (void)buffer, (void)arg1, (void)arg2; }
static struct stave_mbuf *plain(void) { return stave_m_get(STAVE_WAITOK, STAVE_MT_DATA); }
static void copydata_offset(size_t value) { stave_m_copydata(chain(), value, 4, room); }
static void copydata_count(size_t value) { stave_m_copydata(chain(), 4, value, room); }
static void copym_offset(size_t value) { stave_m_copym(chain(), value, 4, STAVE_NOWAIT); }
static void copym_count(size_t value) { stave_m_copym(chain(), 4, value, STAVE_NOWAIT); }
static void apply_offset(size_t value) { stave_m_apply(chain(), value, 4, visit, NULL); }
static void apply_count(size_t value) { stave_m_apply(chain(), 4, value, visit, NULL); }
static void align(size_t value) { stave_m_align(plain(), value); }
static void jumbo(size_t value) { stave_m_getjcl(STAVE_NOWAIT, STAVE_MT_DATA, 0, value); }
static void cluster(size_t value) { stave_m_cljget(NULL, STAVE_NOWAIT, value); }
static void cluster_set(size_t value) { stave_m_cljset(plain(), room, value); }
static void cluster_free(size_t value) { stave_m_cljfree(stave_m_cljget(NULL, STAVE_WAITOK, STAVE_MJUM9BYTES), value); }
static void data_length(size_t value) { struct stave_mbuf *mbuf = plain(); stave_m_set_data(mbuf, stave_m_start(mbuf), value); }
static void pieces(size_t value) {
  struct iovec piece = {room, value};
  struct stave_m_uio transfer;
  if (value <= SSIZE_MAX) {
    struct iovec two[2] = {{room, SSIZE_MAX}, piece};
    stave_m_uio_init(&transfer, two, 2);
  } else {
    stave_m_uio_init(&transfer, &piece, 1);
  }
}
static void piece_count(size_t value) {
  struct stave_m_uio transfer;
  struct iovec piece = {room, 1};
  stave_m_uio_init(&transfer, &piece, value | (size_t)1 << 63);
}

static void align_more(void) { stave_m_align(plain(), STAVE_MLEN + 1); }
static void align_data(void) { struct stave_mbuf *packet = chain(); stave_m_align(packet, 8); }
static void data_outside(void) { struct stave_mbuf *mbuf = plain(); stave_m_set_data(mbuf, room, 8); }
static void data_beyond(void) { struct stave_mbuf *mbuf = plain(); stave_m_set_data(mbuf, (char *)stave_m_start(mbuf) + 8, STAVE_MLEN - 7); }
static void share_nothing(void) { struct stave_mbuf *other = chain(); stave_m_dupcl(plain(), other); }
static void share_twice(void) {
  stave_m_dupcl(stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, 0), stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, 0));
}
static void share_itself(void) { struct stave_mbuf *mbuf = stave_m_getcl(STAVE_WAITOK, STAVE_MT_DATA, 0); stave_m_dupcl(mbuf, mbuf); }
static void lend_much(void) { stave_m_extadd(plain(), room, 1U << 31, taken, NULL, NULL, 0, STAVE_EXT_DISPOSABLE); }
static void lend_for_ever(void) { stave_m_extadd(plain(), room, 64, NULL, NULL, NULL, 0, STAVE_EXT_DISPOSABLE); }
static void lend_counted(void) { static uint32_t count = 1; stave_m_extaddref(plain(), room, 64, &count, NULL, NULL, NULL, 0); }
static void lend_ours(void) { stave_m_extadd(plain(), room, 64, taken, NULL, NULL, 0, 1); }
static void tag_of_none(void) { stave_m_tag_prepend(plain(), stave_m_tag_alloc(1, 1, 4, STAVE_WAITOK)); }
static void move_from_none(void) { stave_m_move_pkthdr(plain(), plain()); }
static void copy_from_none(void) { stave_m_dup_pkthdr(plain(), plain(), STAVE_WAITOK); }
static void fix_none(void) { stave_m_fixhdr(plain()); }
static void concatenate_none(void) { stave_m_catpkt(chain(), plain()); }
static void move_onto_data(void) {
  struct stave_mbuf *mbuf = plain();
  stave_m_set_data(mbuf, stave_m_start(mbuf), STAVE_MLEN);
  stave_m_move_pkthdr(mbuf, chain());
}
static void null_piece(void) {
  struct iovec piece = {NULL, 4};
  struct stave_m_uio transfer;
  stave_m_uio_init(&transfer, &piece, 1);
}

#define CASE(function) {#function, function, NULL}
#define PLAIN(function) {#function, NULL, function}
struct a_case { const char *name; void (*with)(size_t value); void (*without)(void); };
static const struct a_case refused[] = {CASE(prepend), CASE(pullup), CASE(copyup), CASE(pulldown), CASE(split), CASE(getptr), CASE(copyback),
  CASE(append), CASE(getm2), CASE(get2), CASE(devget), CASE(tag), CASE(uio), CASE(collapse), CASE(adj), CASE(queue), CASE(limits)};
static const struct a_case stopped[] = {CASE(copydata_offset), CASE(copydata_count), CASE(copym_offset), CASE(copym_count), CASE(apply_offset),
  CASE(apply_count), CASE(align), CASE(jumbo), CASE(cluster), CASE(cluster_set), CASE(cluster_free), CASE(data_length), CASE(pieces),
  CASE(piece_count), PLAIN(align_more), PLAIN(align_data), PLAIN(data_outside), PLAIN(data_beyond), PLAIN(share_nothing), PLAIN(share_twice),
  PLAIN(share_itself), PLAIN(lend_much), PLAIN(lend_for_ever), PLAIN(lend_counted), PLAIN(lend_ours), PLAIN(tag_of_none),
  PLAIN(move_from_none), PLAIN(copy_from_none), PLAIN(fix_none), PLAIN(concatenate_none), PLAIN(move_onto_data), PLAIN(null_piece)};

static int failures;

static void run(const struct a_case *it, size_t value, int stops) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(ends[1], 2);
    alarm(20);
    if (it->with) it->with(value); else it->without();
    _exit(0);
  }
  close(ends[1]);
  char said[4096];
  size_t count = 0;
  ssize_t more;
  while ((more = read(ends[0], said + count, sizeof said - 1 - count)) > 0) count += (size_t)more;
  said[count] = 0;
  close(ends[0]);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  int is_fine = stops ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, "packet buffers: ") != NULL
                      : WIFEXITED(status) && WEXITSTATUS(status) == 0 && count == 0;
  if (is_fine) return;
  failures++;
  printf("%s(%#zx): status %#x: %s\n", it->name, value, (unsigned)status, said);
}

int main(void) {
  for (size_t which = 0; which < sizeof refused / sizeof *refused; which++)
    for (size_t index = 0; index < sizeof values / sizeof *values; index++) run(&refused[which], values[index], 0);
  for (size_t which = 0; which < sizeof stopped / sizeof *stopped; which++)
    for (size_t index = 0; index < (stopped[which].with ? sizeof values / sizeof *values : 1); index++) run(&stopped[which], values[index], 1);
  if (failures > 0) return 1;
  puts("fine");
  return 0;
}
