// SPDX-License-Identifier: BSD-2-Clause
//
// Stave for C and C++. Here: memory with a malloc type, which says who holds it (malloc(9) of the BSD kernels). `stave types PID`
// shows each type's blocks, bytes, requests and sizes. Link with libstave.so or libstave.a. Zones, deferred reuse, pools and packet
// buffers are in headers of their own, below, and in a library of their own, libstavezones.
//
//   STAVE_TYPE_DEFINE(M_IMAGES, "images", "decoded images");
//
//   struct image *image = stave_malloc(sizeof *image, M_IMAGES, STAVE_NOWAIT | STAVE_ZERO);
//   stave_free(image, M_IMAGES);
//
// Blocks are malloc's in all else: free, realloc and malloc_usable_size take them, and stave_free takes malloc's. Sizes count by
// class and whole page. All functions may be called by any thread; of them only stave_type_enter, with a type that is registered,
// and stave_type_leave in a signal handler. The whole story: stave(3).

#ifndef STAVE_H
#define STAVE_H

#include <stddef.h>
#include "stave_type.h"
#include "stave_zone.h"
#include "stave_pool.h"
#include "stave_mbuf.h"

// Of these headers.
#define STAVE_VERSION_MAJOR 0
#define STAVE_VERSION_MINOR 1
#define STAVE_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

// How a request behaves: one of the first two, and what else is wanted.
enum {
  STAVE_NOWAIT = 0x1,   // null and ENOMEM when there is no memory
  STAVE_WAITOK = 0x2,   // waits for memory; null only for what can never be had
  STAVE_CANFAIL = 0x4,  // with STAVE_WAITOK: null rather than waiting for ever: stave(3) says when
  STAVE_ZERO = 0x100,   // the whole usable size is zero
};

// A type, known before main begins, or when the library it is in is loaded. In another file: extern struct stave_type M_IMAGES[1].
// A library that can be unloaded ends its types in a destructor of its own, by stave_type_unregister.
#define STAVE_TYPE_DEFINE(variable, shortName, longName) STAVE_TYPE_DEFINE_LIMIT(variable, shortName, longName, 0)
// The same with a limit: so many bytes may be in use, of classes and whole pages; 0 for no limit.
#define STAVE_TYPE_DEFINE_LIMIT(variable, shortName, longName, bytes)                            \
  struct stave_type variable[1] = {{STAVE_TYPE_MAGIC, 1, shortName, longName, NULL, bytes, {0}}}; \
  __attribute__((constructor)) static void variable##_register(void) { stave_type_register(variable); } \
  extern struct stave_type variable[1]
#define STAVE_TYPE_DECLARE(variable) extern struct stave_type variable[1]

// Makes a type known; once is enough. A structure that is no type ends the process with a report. Takes a lock.
void stave_type_register(struct stave_type *type);
// Ends a type that nobody uses any more, by name or in a scope. Blocks that are still out are reported on standard error, and stay good.
void stave_type_unregister(struct stave_type *type);
// Gives a type another limit, at once and at any time; 0 takes it away. At the limit STAVE_WAITOK waits until memory of the type is
// freed, by whomever, or the limit is raised; others get null. What is in use already stays. A type that has or had a limit costs
// some atomic additions at each call, and goes round the CPUs' caches; a first limit for a type in use stops each of these for a
// moment. Returns 0, or -1 with ENOMEM: the type cannot be registered, or the system refuses to stop the caches.
int stave_type_set_limit(struct stave_type *type, size_t bytes);

// `size` bytes, aligned to 16; for a power of two up to a page, to itself. A size of 0 gives a distinct block.
void *stave_malloc(size_t size, struct stave_type *type, int flags);
// count × size bytes; null and ENOMEM if that overflows.
void *stave_mallocarray(size_t count, size_t size, struct stave_type *type, int flags);
// The block, which is of `type`, with another size, perhaps elsewhere; malloc's memory is of `type` if it moves. Null leaves it as it
// was, with its old size.
void *stave_realloc(void *block, size_t size, struct stave_type *type, int flags);
// The same, but null means that the block has been freed.
void *stave_reallocf(void *block, size_t size, struct stave_type *type, int flags);
// Frees a block; null does nothing. It is charged back to the type that it has, whichever is named; another's is reported by
// item checks, and of blocks with guard bytes or guards.
void stave_free(void *block, struct stave_type *type);
// Bytes that may be used; 0 for null.
size_t stave_usable_size(void *block);

// Until stave_type_leave, all that this thread asks of malloc and its relatives, whoever calls them, is of `type`; with null it has no
// type. Returns the type whose scope the thread was in, or null, for stave_type_leave. Other threads go on as they were. A call
// that names a type of its own, as those above do, keeps it. Registers the type if need be; takes no lock otherwise.
//
//   struct stave_type *before = stave_type_enter(M_IMAGES);
//   decode(file);
//   stave_type_leave(before);
struct stave_type *stave_type_enter(struct stave_type *type);
void stave_type_leave(struct stave_type *before);

// Memory that is contiguous in the machine too, zeroed, in whole pages: stave_contigmalloc(3). Its physical addresses lie in [low,
// high), the first is a multiple of `alignment`, and no multiple of `boundary` lies inside; both are powers of two, but a boundary of
// 0 is none. Null and ENOMEM where there is no such memory, also with STAVE_WAITOK, or no room within the type's limit, and above 2 MiB
// where the system's pool of huge pages has none; null and ENOTSUP where physical addresses matter and are not shown to this process.
// What is no request, such as a size of 0, ends the process with a report.
void *stave_contigmalloc(size_t size, struct stave_type *type, int flags, unsigned long low, unsigned long high,
                         unsigned long alignment, unsigned long boundary);
// Ends such a block; `size` is what was asked for. Null, another size, and what is no such block end the process with a report.
void stave_contigfree(void *block, size_t size, struct stave_type *type);

#ifdef __cplusplus
}
#endif

#endif
