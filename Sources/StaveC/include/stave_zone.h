// SPDX-License-Identifier: BSD-2-Clause
//
// Zones for C and C++: caches of objects of one size that keep their state between uses (FreeBSD's uma(9)); and deferred reuse
// (smr(9)), for readers without locks. Part of stave.h. Link with -lstavezones, which replaces no malloc, or libstavezones.a.
//
//   struct stave_zone *zone = stave_zone_create("request", sizeof(struct request), NULL, NULL, request_init, request_fini,
//                                               STAVE_ALIGN_CACHE, 0);
//   struct request *request = stave_zone_alloc(zone, STAVE_NOWAIT);
//   stave_zone_free(zone, request);
//   stave_zone_destroy(zone);
//
// Flags of requests are those of stave.h, and those below. A zone may be used by any thread; not by a signal handler that may have
// interrupted a call of the same thread, except where that is allowed. An item that is freed twice, or is not the zone's, is reported
// on standard error with its zone, and ends the process. The whole story: stave_zone(3), stave_smr(3).
//
// Nothing returns the free memory of these zones automatically: call stave_zone_reclaim(NULL, STAVE_RECLAIM_DRAIN_CPU) when the program
// becomes idle.

#ifndef STAVE_ZONE_H
#define STAVE_ZONE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stave_zone;
struct stave_smr;

// Of requests, beside stave.h's: STAVE_NOWAIT or STAVE_WAITOK, STAVE_CANFAIL, STAVE_ZERO.
enum {
  STAVE_NOVM = 0x200,         // only what is there already: no new pages are tried
  STAVE_USE_RESERVE = 0x400,  // may take the last items, which stave_zone_reserve has set aside
};

// Of zones. stave_zone(3) says which go together.
enum {
  STAVE_ZONE_ZINIT = 1 << 0,         // items are zero when their slab is made; not at each request
  STAVE_ZONE_OFFPAGE = 1 << 1,       // slab headers lie apart from the items
  STAVE_ZONE_NOFREE = 1 << 3,        // pages are never given back: an address keeps its type
  STAVE_ZONE_VM = 1 << 4,            // for zones that page sources use: needs no other memory
  STAVE_ZONE_MAXBUCKET = 1 << 5,     // caches begin at their largest size; not with NOBUCKET or PCPU
  STAVE_ZONE_NOBUCKET = 1 << 6,      // no caches
  STAVE_ZONE_REFCNT = 1 << 7,        // a 32-bit count for each item; implies NOFREE
  STAVE_ZONE_CACHESPREAD = 1 << 8,   // items begin at different places of their pages, in steps of the alignment
  STAVE_ZONE_NOTOUCH = 1 << 9,       // free items are neither read nor written
  STAVE_ZONE_PCPU = 1 << 10,         // each item has a copy for every CPU; implies NOBUCKET
  STAVE_ZONE_SMR = 1 << 11,          // reuse is deferred: stave_zone_alloc_smr and stave_zone_free_smr alone
  STAVE_ZONE_UNMANAGED = 1 << 12,    // reclaiming from all zones leaves its caches alone
  STAVE_ZONE_NODUMP = 1 << 13,       // not in core files
  STAVE_ZONE_NOTPAGE = 1 << 14,      // for stave_zone_set_source: pages may lie anywhere
  STAVE_ZONE_FIRSTTOUCH = 1 << 15,   // items come from the memory domain of the CPU that asks, and go back to their own
  STAVE_ZONE_ROUNDROBIN = 1 << 25,   // items come from all memory domains in turn
};

// Alignments are given less one, as with uma(9).
#define STAVE_ALIGN_PTR (sizeof(void *) - 1)
#define STAVE_ALIGN_CACHE (64 * sizeof(char) - 1)

// Hooks. What returns int refuses by a value other than 0, and may sleep if `flags` has STAVE_WAITOK; the others may not sleep. They run
// without locks.
typedef int (*stave_zone_ctor)(void *item, size_t size, void *arg, int flags);  // at each request
typedef void (*stave_zone_dtor)(void *item, size_t size, void *arg);            // at each free
typedef int (*stave_zone_init)(void *item, size_t size, int flags);             // when an item is made, with its slab
typedef void (*stave_zone_fini)(void *item, size_t size);                       // when its slab is given back
// Puts up to `count` pointers into `store` and returns how many.
typedef size_t (*stave_zone_import)(void *arg, void **store, size_t count, int flags);
typedef void (*stave_zone_release)(void *arg, void **store, size_t count);
// Whole pages: `bytes`, a multiple of the page size, at a multiple of the zone's alignment, or of 16 if that is less; null where there
// are none. What is written to `*mark`, 0 before, comes back with them: so a source that has several kinds of pages knows which these are.
typedef void *(*stave_zone_allocf)(void *arg, size_t bytes, int flags, uint8_t *mark);
typedef void (*stave_zone_freef)(void *arg, void *pages, size_t bytes, uint8_t mark);

// Which version the library has, in three bytes: (STAVE_VERSION_MAJOR << 16 | STAVE_VERSION_MINOR << 8 | STAVE_VERSION_PATCH).
uint32_t stave_zone_version(void);

// A zone of items of `size` bytes. All hooks are optional. 31 bytes of the name are kept. Null with EINVAL for a size that no slab can
// have (0, more than 2^40, with PCPU more than a page), an invalid alignment, and flags that contradict each other or are unknown; with
// ENOMEM if there is no memory, or no room for another zone: there are some 8000. Takes locks; allocates no page yet.
struct stave_zone *stave_zone_create(const char *name, size_t size, stave_zone_ctor ctor, stave_zone_dtor dtor, stave_zone_init init,
                                     stave_zone_fini fini, size_t align, uint32_t flags);
// A zone with its own caches, hooks and figures on the pages of another, which must outlive it. init and fini run when an item comes from
// there and goes back. Only the flags MAXBUCKET, NOBUCKET and UNMANAGED have an effect. Null as above.
struct stave_zone *stave_zone_create_secondary(const char *name, stave_zone_ctor ctor, stave_zone_dtor dtor, stave_zone_init init,
                                               stave_zone_fini fini, uint32_t flags, struct stave_zone *primary);
// The caches of a zone for pointers that `import` brings and `release` takes back; both get `arg`. `size` is for hooks and figures. It has
// no pages: null with EINVAL for other flags than MAXBUCKET, NOBUCKET and UNMANAGED, and without either function; else as above.
struct stave_zone *stave_zone_create_cache(const char *name, size_t size, stave_zone_ctor ctor, stave_zone_dtor dtor, stave_zone_init init,
                                           stave_zone_fini fini, stave_zone_import import, stave_zone_release release, void *arg,
                                           uint32_t flags);
// A zone whose reuse is deferred by the sections of `smr`, or with null of a context of its own. The constructor's argument is null, and
// the destructor runs when no reader is left. Null as above, with EINVAL also for the flags PCPU, FIRSTTOUCH and ROUNDROBIN.
struct stave_zone *stave_zone_create_smr(const char *name, size_t size, stave_zone_ctor ctor, stave_zone_dtor dtor, stave_zone_init init,
                                         stave_zone_fini fini, size_t align, uint32_t flags, struct stave_smr *smr);
// Ends a zone that nobody uses any more; null does nothing. Items still out are reported and lost with their pages. Returns their
// number. Not to be called from the zone's own hooks. May wait for readers.
size_t stave_zone_destroy(struct stave_zone *zone);
// Lets a secondary zone take items of another zone's pages as well, of the same size; each goes back where it came from. To be called
// before its first request. Both zones must have STAVE_ZONE_OFFPAGE, _NOTOUCH or _CACHESPREAD: slabs whose headers lie in the item's page
// cannot be mixed. 0, or -1 with EINVAL, or with ENOMEM for a fifth zone.
int stave_zone_add_keg(struct stave_zone *zone, struct stave_zone *primary);

// These must be set before a zone's first request; later they are reported, and do nothing.

// Sets the init and fini that run between pages and caches, also for a zone that is not secondary.
void stave_zone_set_hooks(struct stave_zone *zone, stave_zone_init init, stave_zone_fini fini);
// Sets where a zone with STAVE_ZONE_NOTPAGE gets its pages from; -1 with EINVAL for others, without allocf, and once it has had a page.
// `zeroed`: all of them are zero. Both functions are called without locks; a free may call freef. With NOFREE freef may be null: the pages
// are then the caller's when the zone ends.
int stave_zone_set_source(struct stave_zone *zone, stave_zone_allocf allocf, stave_zone_freef freef, void *arg, int zeroed);
// Reserves addresses for `count` items, in whole slabs, which is also the most that there can be; implies NOFREE. 0, or -1 with ENOMEM;
// with EINVAL for no items, and for a zone that is nothing but caches.
int stave_zone_reserve_addresses(struct stave_zone *zone, size_t count);
// Keeps the last `count` free items for requests with STAVE_USE_RESERVE.
void stave_zone_reserve(struct stave_zone *zone, size_t count);
// Makes slabs for `count` more free items, at any time. 0, or -1 with ENOMEM: slabs made until then stay; or with EINVAL for a zone that
// is nothing but caches. Reclaiming gives the slabs back like any others, unless the zone has a reserve or STAVE_ZONE_NOFREE.
int stave_zone_prealloc(struct stave_zone *zone, size_t count, int flags);

// An item. Null with STAVE_NOWAIT when there is no memory or the zone is at its limit, and if a hook refuses. errno is left alone. With
// STAVE_ZERO the item is zeroed, after the constructor: nothing is left of what ctor and init have written, so it is not for zones that
// have them. A cache serves a request in some 5 ns; otherwise a lock is taken, and new pages may be needed. With STAVE_WAITOK it may
// sleep; where there is no memory all zones give back what their caches hold first, so that hooks of any zone may run. A request with
// STAVE_NOWAIT takes nothing from other zones.
void *stave_zone_alloc(struct stave_zone *zone, int flags);
void *stave_zone_alloc_arg(struct stave_zone *zone, void *arg, int flags);
// Gives an item back; null does nothing. Never sleeps. What the CPU's cache takes is not looked at: a double free, an address that is no
// item, or an item of another zone is reported when it comes to a slab, if that is ever, and may be handed out again before. The latter two
// a zone with STAVE_ZONE_FIRSTTOUCH reports at once, all three one with STAVE_ZONE_NOBUCKET that has neither STAVE_ZONE_SMR nor
// imported items.
void stave_zone_free(struct stave_zone *zone, void *item);
void stave_zone_free_arg(struct stave_zone *zone, void *item, void *arg);
// Returns when an item could be had.
void stave_zone_wait(struct stave_zone *zone);
// The count of an item of a zone with STAVE_ZONE_REFCNT, for the caller's atomic operations: 0 at first, and left alone by the zone.
// It exists as long as the zone, also while the item is free. An address that is no item ends the process.
uint32_t *stave_zone_find_refcnt(struct stave_zone *zone, const void *item);

// For zones with STAVE_ZONE_PCPU: an item has a copy for each CPU; that of CPU 0 is returned. STAVE_ZERO zeroes all copies.
void *stave_zone_alloc_pcpu(struct stave_zone *zone, void *arg, int flags);
void stave_zone_free_pcpu(struct stave_zone *zone, void *item, void *arg);
// The copy of one CPU, below stave_zone_pcpu_copies.
void *stave_zone_pcpu_copy(void *item, size_t cpu);
size_t stave_zone_pcpu_copies(void);
// A zone that the whole program shares for copies of 4, 8, 16, 32 or 64 bytes, and that must not be destroyed; null for other sizes, and
// without memory.
struct stave_zone *stave_zone_pcpu_zone(size_t bytes);

// Memory domains: parts of the memory that are nearer to some CPUs than to others, NUMA nodes, numbered from 0. How many there are; 0
// where there is no memory to find out.
int stave_zone_domains(void);
// An item of one domain, whatever CPU asks, of a zone with STAVE_ZONE_FIRSTTOUCH; with STAVE_WAITOK from there or not at all. Where the
// domain has no memory, from another. Null as above; for other zones and domains there is a report.
void *stave_zone_alloc_domain(struct stave_zone *zone, void *arg, int domain, int flags);
// The domain that an item is in; -1 for an address in no slab of the zone, null too. 0, whatever the address, for zones without a policy.
int stave_zone_domain_of(struct stave_zone *zone, void *item);

// At most so many items, out or cached; 0 for no limit. At any time; what is out stays. Requests with STAVE_WAITOK wait at the limit in
// the order in which they came. A limit makes caches smaller. Returns the limit.
size_t stave_zone_set_max(struct stave_zone *zone, size_t items);
size_t stave_zone_get_max(struct stave_zone *zone);
// Items out, with a limit also those cached; about, while others use the zone.
size_t stave_zone_get_cur(struct stave_zone *zone);
// Whether a request that no cache serves would meet the limit.
int stave_zone_exhausted(struct stave_zone *zone);
// What is reported when a request meets the limit, at most each five minutes; the text stays the caller's. Null: nothing.
void stave_zone_set_warning(struct stave_zone *zone, const char *text);
// What runs then, to free what can be spared: soon after, in a thread of the library's own, without locks, one at a time; it may wait, but
// neither at a limit that has an action nor for the zone's end. Null: nothing, and no call is under way when this returns, unless it is
// made by one. The first one makes the thread, which never ends: the process ends by exit, not by pthread_exit of its last thread.
void stave_zone_set_maxaction(struct stave_zone *zone, void (*action)(struct stave_zone *zone));

// What the whole program may want to hear of.
enum {
  STAVE_EVENT_LOWMEM = 1,       // there is no memory for a request that may wait; in its thread, at most once in ten seconds
  STAVE_EVENT_MBUF_DRAIN = 2,   // the same, and a limit of packet buffers is met, then in a thread of the library's own
  STAVE_EVENT_MBUF_LIMITS = 3,  // a limit of packet buffers has changed; in the thread that has changed it, or, from outside, in that one
};
// Calls `handler` with `arg` at each such event from now on, without locks. It may allocate with STAVE_NOWAIT, and free. 0, or -1 with
// EINVAL for another event or null, with ENOMEM where there are twelve. The MBUF events need the thread of stave_zone_set_maxaction.
int stave_event_add(int event, void (*handler)(void *arg), void *arg);
// Takes that back, and waits for calls under way, but not in one of them. 0, or -1 with EINVAL for what was not added.
int stave_event_remove(int event, void (*handler)(void *arg), void *arg);

// How much is given back.
enum {
  STAVE_RECLAIM_TRIM = 1,       // what the depot holds beyond what was used in the last 20 s, or a little earlier
  STAVE_RECLAIM_DRAIN = 2,      // all of the depot
  STAVE_RECLAIM_DRAIN_CPU = 3,  // the depot and the CPUs' caches
};
// Gives back from a zone, with null from all, and to the system what pages have come free. 0, or -1 with EINVAL.
int stave_zone_reclaim(struct stave_zone *zone, int how);
// The same of what is in one memory domain; but of a zone with STAVE_ZONE_ROUNDROBIN the CPUs' caches hold items of all, and
// STAVE_RECLAIM_DRAIN_CPU empties them.
int stave_zone_reclaim_domain(struct stave_zone *zone, int how, int domain);

// Bytes of an item.
size_t stave_zone_size(struct stave_zone *zone);
// Bytes of its pages, whether items are out, cached or free; with null of all zones.
size_t stave_zone_memory(struct stave_zone *zone);

struct stave_zone_stat {
  uint64_t requests;  // requests that were served
  uint64_t frees;     // items that were freed
  uint64_t used;      // items out
  uint64_t cached;    // free items in caches
  uint64_t fails;     // requests that were refused
  uint64_t sleeps;    // requests that waited
  uint64_t xdomain;   // frees on a CPU of another memory domain than the item's, of zones with STAVE_ZONE_FIRSTTOUCH
};
// Sums over the CPUs: exact while nobody uses the zone.
void stave_zone_get_stat(struct stave_zone *zone, struct stave_zone_stat *stat);

// Deferred reuse. What a reader finds between enter and exit stays what it is until exit, though writers take it out of the structure
// and free it meanwhile. stave_smr(3) shows a table that is read so.

// A context: what readers and writers of a structure share. Null with ENOMEM. 2 MiB of addresses.
struct stave_smr *stave_smr_create(void);
// Ends it. 0, or -1 with EBUSY while a zone or a section uses it. Null does nothing.
int stave_smr_destroy(struct stave_smr *smr);
// Begins and ends a section of this thread. Sections nest. No lock, no waiting; any thread, any signal handler.
void stave_smr_enter(struct stave_smr *smr);
void stave_smr_exit(struct stave_smr *smr);
// The goal of all that was taken out of the structure before.
uint64_t stave_smr_advance(struct stave_smr *smr);
// 1 if no section is left that may know of it; else 0. stave_smr_wait returns when it is so; 0 where it cannot be: in a section of
// the same context, which is reported, and where the system has come to refuse membarrier(2).
int stave_smr_poll(struct stave_smr *smr, uint64_t goal);
int stave_smr_wait(struct stave_smr *smr, uint64_t goal);
// stave_smr_wait for the goal of now.
int stave_smr_synchronize(struct stave_smr *smr);
// The context of a zone with STAVE_ZONE_SMR; null of others.
struct stave_smr *stave_zone_get_smr(struct stave_zone *zone);
// As stave_zone_alloc; may be called in a section. Waits for readers at the zone's limit alone, and with STAVE_WAITOK; in a section of the
// zone's context that is reported, and is null.
void *stave_zone_alloc_smr(struct stave_zone *zone, int flags);
// Gives back an item that no reader can find from here on; null does nothing. Not in a section of the zone's context. It waits for
// readers where memory for the list of what waits is not to be had.
void stave_zone_free_smr(struct stave_zone *zone, void *item);

#ifdef __cplusplus
}
#endif

#endif
