// SPDX-License-Identifier: BSD-2-Clause
//
// Stave for C and C++: memory with a malloc type, which says who holds it (malloc(9) of the BSD kernels). `stave types PID`
// shows each type's blocks, bytes, requests and sizes. Link with libstave.so or libstave.a.
//
//   STAVE_TYPE_DEFINE(M_IMAGES, "images", "decoded images");
//
//   struct image *image = stave_malloc(sizeof *image, M_IMAGES, STAVE_NOWAIT | STAVE_ZERO);
//   stave_free(image, M_IMAGES);
//
// Blocks are malloc's in all else: free, realloc and malloc_usable_size take them, and stave_free takes malloc's. Sizes count by
// class and whole page. All functions may be called by any thread, none in a signal handler.

#ifndef STAVE_H
#define STAVE_H

#include <stddef.h>
#include "stave_type.h"

#ifdef __cplusplus
extern "C" {
#endif

// How a request behaves: one of the first two, and what else is wanted.
enum {
  STAVE_NOWAIT = 0x1,   // null and ENOMEM when there is no memory
  STAVE_WAITOK = 0x2,   // waits for memory; null only for what can never be had
  STAVE_ZERO = 0x100,   // the whole usable size is zero
};

// A type, known before main begins, or when the library it is in is loaded. In another file: extern struct stave_type M_IMAGES[1].
// A library that can be unloaded ends its types in a destructor of its own, by stave_type_unregister.
#define STAVE_TYPE_DEFINE(variable, shortName, longName)                                        \
  struct stave_type variable[1] = {{STAVE_TYPE_MAGIC, 1, shortName, longName, NULL, {0}}};      \
  __attribute__((constructor)) static void variable##_register(void) { stave_type_register(variable); } \
  extern struct stave_type variable[1]
#define STAVE_TYPE_DECLARE(variable) extern struct stave_type variable[1]

// Makes a type known; once is enough. A structure that is no type ends the process with a report. Takes a lock.
void stave_type_register(struct stave_type *type);
// Ends a type that nobody uses any more. Blocks that are still out are reported on standard error, and stay good.
void stave_type_unregister(struct stave_type *type);

// `size` bytes, aligned to 16; for a power of two up to a page, to itself. A size of 0 gives a distinct block.
void *stave_malloc(size_t size, struct stave_type *type, int flags);
// count × size bytes; null and ENOMEM if that overflows.
void *stave_mallocarray(size_t count, size_t size, struct stave_type *type, int flags);
// The block with another size, perhaps elsewhere: then it is of `type`. Null leaves it as it was, with its old size.
void *stave_realloc(void *block, size_t size, struct stave_type *type, int flags);
// The same, but null means that the block has been freed.
void *stave_reallocf(void *block, size_t size, struct stave_type *type, int flags);
// Frees a block; null does nothing. It is charged back to the type that it has, whichever is named.
void stave_free(void *block, struct stave_type *type);
// Bytes that may be used; 0 for null.
size_t stave_usable_size(void *block);

// Memory that is contiguous in the machine too, zeroed, in whole pages: stave_contigmalloc(3). Its physical addresses lie in [low,
// high), the first is a multiple of `alignment`, and no multiple of `boundary` lies inside; both are powers of two, but a boundary of
// 0 is none. Null and ENOMEM where there is no such memory, also with STAVE_WAITOK, and above 2 MiB where the system's pool of huge
// pages has none; null and ENOTSUP where physical addresses matter and are not shown to this process. What is no request, such as
// a size of 0, ends the process with a report.
void *stave_contigmalloc(size_t size, struct stave_type *type, int flags, unsigned long low, unsigned long high,
                         unsigned long alignment, unsigned long boundary);
// Ends such a block; `size` is what was asked for. Null, another size, and what is no such block end the process with a report.
void stave_contigfree(void *block, size_t size, struct stave_type *type);

#ifdef __cplusplus
}
#endif

#endif
