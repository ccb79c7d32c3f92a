// SPDX-License-Identifier: BSD-2-Clause
//
// Pools for C and C++: items of one size behind one lock, with a limit on those that are out, water marks, and a source of pages that
// several pools share and give back to each other (pool(9) of NetBSD). Part of stave.h. Link with -lstavezones. For speed on many CPUs
// take a zone. The whole story: stave_pool(3).

#ifndef STAVE_POOL_H
#define STAVE_POOL_H

#include <stddef.h>
#include <stdint.h>
#include "stave_zone.h"

#ifdef __cplusplus
extern "C" {
#endif

struct stave_pool;
struct stave_pool_allocator;
struct stave_pool_cache;

enum { STAVE_LIMITFAIL = 0x800 };  // of requests: at the hard limit null at once, even with STAVE_WAITOK
#define STAVE_POOL_NOLIMIT SIZE_MAX

// Called without locks when the pool cannot serve a request, and at each reclaim, to put items that its owner can spare. One thread at a
// time is in a pool's hook, and the others do without; so it may ask other pools. It must not wait.
typedef void (*stave_pool_drain_hook)(void *arg, int flags);

// A pool of items of `size` bytes, each with its byte `offset` at a multiple of align + 1. Flags: STAVE_ZONE_NOTOUCH, _OFFPAGE,
// _NOTPAGE. Null for an allocator is one that all such pools share. Null with EINVAL for what no pool can be, an alignment beyond that of
// the allocator's pages among it, else with ENOMEM. Takes no page yet.
struct stave_pool *stave_pool_create(const char *name, size_t size, size_t align, size_t offset, uint32_t flags,
                                     struct stave_pool_allocator *allocator);
// Ends a pool, with its caches; null does nothing. Items still out are reported and lost. Returns their number.
size_t stave_pool_destroy(struct stave_pool *pool);
// An item. Null with STAVE_NOWAIT when none is to be had at once, also because another thread is fetching a page at that moment, and with
// STAVE_LIMITFAIL at the limit; else it may sleep. One lock.
void *stave_pool_get(struct stave_pool *pool, int flags);
// Takes it back; null does nothing. May call the source of pages.
void stave_pool_put(struct stave_pool *pool, void *item);
// Adds pages for so many items, which stay. 0, or -1 with ENOMEM.
int stave_pool_prime(struct stave_pool *pool, size_t items, int flags);
// Fewer free items than this make the pool grow, without waiting; pages for so many stay.
void stave_pool_setlowat(struct stave_pool *pool, size_t items);
// A page that becomes empty goes back at once where there are pages for more items than this; STAVE_POOL_NOLIMIT, as at first: none does.
void stave_pool_sethiwat(struct stave_pool *pool, size_t items);
// At most so many items out; STAVE_POOL_NOLIMIT: no limit. A request that meets it has `message` written, its first 500 bytes, at most
// once in so many seconds; null for none. The text is the caller's, and stays until another call has set another. Sets the high water
// mark, too.
void stave_pool_sethardlimit(struct stave_pool *pool, size_t items, const char *message, unsigned seconds);
// Sets the hook that gives back what the owner can spare; null for none. A call of the former one that is under way goes on.
void stave_pool_set_drain_hook(struct stave_pool *pool, stave_pool_drain_hook hook, void *arg);
// Gives back pages that have been empty for ten seconds; with `urgent` all that are, but for the minimum. 1 exactly if a page went back.
// Where another thread has the pool's lock, and keeps it for more than a moment, nothing goes.
int stave_pool_reclaim(struct stave_pool *pool, int urgent);
// The same of one pool, each time the next.
int stave_pool_drain(void);

struct stave_pool_stat {
  uint64_t gets, fails, puts, sleeps;
  uint64_t out, free;                            // items
  uint64_t pages_made, pages_freed, pages, most; // pages
  uint64_t idle;                                 // pages that are empty
  uint64_t steps;                                // pages looked at by gets and puts
};
// What it has counted, all at one moment.
void stave_pool_get_stat(struct stave_pool *pool, struct stave_pool_stat *stat);

// A source of pages of `pagesize` bytes, a multiple of 8 from 512, at multiples of `alignment`, a power of two, or 0 for `pagesize`. Pools
// that use it drain each other before they wait. Both functions are called without locks, and neither may be null. Null with EINVAL or
// ENOMEM. Goes when it is released and its last pool has gone.
struct stave_pool_allocator *stave_pool_allocator_create(stave_zone_allocf allocf, stave_zone_freef freef, void *arg, size_t pagesize,
                                                         size_t alignment);
void stave_pool_allocator_release(struct stave_pool_allocator *allocator);

// Objects that stay constructed while nobody has them, in front of a pool: ctor runs when one is made of an item, dtor before it
// becomes one again. To the pool they are out. Null with ENOMEM.
struct stave_pool_cache *stave_pool_cache_create(struct stave_pool *pool, stave_zone_ctor ctor, stave_zone_dtor dtor, void *arg);
// Invalidates it and ends it; objects that are out are the pool's items then. Null does nothing. Not to be called by its own dtor: it
// waits for who gives back what the cache holds.
void stave_pool_cache_destroy(struct stave_pool_cache *cache);
// An object, as stave_pool_get has it, null also where ctor refuses; and back, as it is.
void *stave_pool_cache_get(struct stave_pool_cache *cache, int flags);
void stave_pool_cache_put(struct stave_pool_cache *cache, void *object);
// All objects of the cache go back to the pool.
void stave_pool_cache_invalidate(struct stave_pool_cache *cache);

#ifdef __cplusplus
}
#endif

#endif
