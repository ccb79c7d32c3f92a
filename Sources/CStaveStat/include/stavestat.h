// SPDX-License-Identifier: BSD-2-Clause
//
// Reading who holds the memory of a process on Stave, from outside: its zones and malloc types, live, from a core file, or from a
// saved stream; see stavestat(3). In the manner of FreeBSD's libmemstat(3), whose numbers the allocators and errors have.
//
//   stavestat_list *list = stavestat_list_new();
//   if (stavestat_fill_process(list, pid, STAVESTAT_ANY) != 0) errx(1, "%s", stavestat_message(list));
//   for (stavestat_entry *e = stavestat_first(list); e != NULL; e = stavestat_next(e))
//     printf("%s %" PRIu64 "\n", stavestat_label(e), stavestat_value(e, STAVESTAT_BYTES));
//   stavestat_list_free(list);
//
// Lists share nothing: each may be used by one thread at a time, different ones by different threads. A null list or
// entry is accepted and treated as empty. Link with -lstavestat; it needs nothing but libc.

#ifndef STAVESTAT_H
#define STAVESTAT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __clang__
#define STAVESTAT_NULLABLE _Nullable
#else
#define STAVESTAT_NULLABLE
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stavestat_list stavestat_list;
typedef struct stavestat_entry stavestat_entry;

// Whose statistics an entry has.
enum {
  STAVESTAT_MALLOC = 1,  // a malloc type
  STAVESTAT_ZONE = 2,    // a zone
  STAVESTAT_ANY = 255,   // in questions: either
};

// What went wrong.
enum {
  STAVESTAT_ERROR_NONE = 0,
  STAVESTAT_ERROR_VERSION = 2,     // a stream, or a process's structures, of a version that this library does not know
  STAVESTAT_ERROR_PERMISSION = 3,  // the process may not be read
  STAVESTAT_ERROR_DATA = 5,        // what was read contradicts itself
  STAVESTAT_ERROR_PROCESS = 6,     // there is no such process or file, or it is no core file
  STAVESTAT_ERROR_NO_STAVE = 7,    // Stave is not in it
  STAVESTAT_ERROR_SHORT = 8,       // memory of it that is needed cannot be read
  STAVESTAT_ERROR_OTHER = 9,
};

// What an entry can be asked for. C: of each CPU too. What its allocator does not have is 0.
enum {
  STAVESTAT_COUNT = 1,        // items or blocks in use
  STAVESTAT_BYTES,            // their bytes
  STAVESTAT_ALLOCATIONS,      // C  requests served since the start
  STAVESTAT_FREES,            // C
  STAVESTAT_ALLOCATED_BYTES,  // C  bytes of these requests, by classes and whole pages; of zones: of items
  STAVESTAT_FREED_BYTES,      // C
  STAVESTAT_FAILURES,         //    requests that failed; not in a stream of types
  STAVESTAT_SIZE_MASK,        // C  of types: bit i for classes of at most stavestat_class_size(i) bytes, and of more than half of that
  STAVESTAT_FREE,             // C  of zones: items in nobody's hands; of a CPU: in its cache
  STAVESTAT_SIZE,             //    of zones: bytes of an item
  STAVESTAT_ITEM_BYTES,       //    of zones: the distance between items
  STAVESTAT_LIMIT,            //    of zones: most items, 0 for no limit
  STAVESTAT_SLEEPS,           //    of zones: requests that waited
  STAVESTAT_CROSS_DOMAIN,     //    of zones: items freed on another memory domain
  STAVESTAT_ZONE_FREE,        //    of zones: items in the depot
  STAVESTAT_KEG_FREE,         //    of zones: free items of slabs
  STAVESTAT_PAGES,            //    of zones: pages of all slabs
  STAVESTAT_BUCKET_SIZE,      //    of zones: items of a bucket
};

// Slots for the caller's own, of each entry and of each CPU of an entry.
enum { STAVESTAT_SLOTS = 16 };

// An empty list.
stavestat_list *STAVESTAT_NULLABLE stavestat_list_new(void);
// With its entries; null does nothing.
void stavestat_list_free(stavestat_list *STAVESTAT_NULLABLE list);

// Each fills the list and returns 0, or empties it and returns -1. An entry that was there and is found again, by allocator, name
// and instance, stays the same entry and keeps what is in its slots; others of what is filled end. One look at a process costs
// milliseconds, and nothing of the process.
int stavestat_fill_process(stavestat_list *STAVESTAT_NULLABLE list, int process, int allocator);
int stavestat_fill_core(stavestat_list *STAVESTAT_NULLABLE list, const char *STAVESTAT_NULLABLE path, int allocator);
// What `stave stream` has written, at most 256 MiB; "-" for standard input. Entries of the stream's kind only are touched.
int stavestat_fill_stream(stavestat_list *STAVESTAT_NULLABLE list, const char *STAVESTAT_NULLABLE path);
int stavestat_fill_bytes(stavestat_list *STAVESTAT_NULLABLE list, const void *STAVESTAT_NULLABLE bytes, size_t count);

// Of the last fill of the list: its kind, and a sentence that says more. The sentence stays until the next fill.
int stavestat_error(const stavestat_list *STAVESTAT_NULLABLE list);
const char *STAVESTAT_NULLABLE stavestat_message(const stavestat_list *STAVESTAT_NULLABLE list);
// The kind of an error in a few words, for any number.
const char *STAVESTAT_NULLABLE stavestat_strerror(int error);

// Zones, then types, each in the order in which the process made them. Null at the end. Entries stay until a fill does not find them,
// or fails, or the list is freed.
stavestat_entry *STAVESTAT_NULLABLE stavestat_first(const stavestat_list *STAVESTAT_NULLABLE list);
stavestat_entry *STAVESTAT_NULLABLE stavestat_next(const stavestat_entry *STAVESTAT_NULLABLE entry);
// Null if there is none. `instance` distinguishes entries of one name: 0 for the first of them.
stavestat_entry *STAVESTAT_NULLABLE stavestat_find(
    const stavestat_list *STAVESTAT_NULLABLE list, int allocator, const char *STAVESTAT_NULLABLE name, unsigned instance);

// Names stay as long as the entry. The label is the name, with the instance behind it where that is not 0. In a stream names
// are cut at 31 bytes, and equal ones told apart by their order, which sharesName says.
const char *STAVESTAT_NULLABLE stavestat_name(const stavestat_entry *STAVESTAT_NULLABLE entry);
const char *STAVESTAT_NULLABLE stavestat_label(const stavestat_entry *STAVESTAT_NULLABLE entry);
int stavestat_allocator(const stavestat_entry *STAVESTAT_NULLABLE entry);
unsigned stavestat_instance(const stavestat_entry *STAVESTAT_NULLABLE entry);
int stavestat_shares_name(const stavestat_entry *STAVESTAT_NULLABLE entry);

// One of STAVESTAT_COUNT and so on; 0 for what is not there.
uint64_t stavestat_value(const stavestat_entry *STAVESTAT_NULLABLE entry, int what);
// How many records by CPU number it has. A type has one more than there are CPU numbers: the last is of no CPU, for what no CPU's
// cache has counted.
unsigned stavestat_cpus(const stavestat_entry *STAVESTAT_NULLABLE entry);
uint64_t stavestat_cpu_value(const stavestat_entry *STAVESTAT_NULLABLE entry, unsigned cpu, int what);
// Bytes of the power of two that bit `bit` of a mask of sizes stands for: 16 for 0; 0 for bits that stand for nothing.
uint64_t stavestat_class_size(unsigned bit);

// The caller's slots, null and 0 until set. Setting returns -1 for a slot or CPU that is not there.
void *STAVESTAT_NULLABLE stavestat_pointer(const stavestat_entry *STAVESTAT_NULLABLE entry, unsigned slot);
int stavestat_set_pointer(stavestat_entry *STAVESTAT_NULLABLE entry, unsigned slot, void *STAVESTAT_NULLABLE pointer);
uint64_t stavestat_number(const stavestat_entry *STAVESTAT_NULLABLE entry, unsigned slot);
int stavestat_set_number(stavestat_entry *STAVESTAT_NULLABLE entry, unsigned slot, uint64_t number);
void *STAVESTAT_NULLABLE stavestat_cpu_pointer(const stavestat_entry *STAVESTAT_NULLABLE entry, unsigned cpu, unsigned slot);
int stavestat_set_cpu_pointer(stavestat_entry *STAVESTAT_NULLABLE entry, unsigned cpu, unsigned slot, void *STAVESTAT_NULLABLE pointer);
uint64_t stavestat_cpu_number(const stavestat_entry *STAVESTAT_NULLABLE entry, unsigned cpu, unsigned slot);
int stavestat_set_cpu_number(stavestat_entry *STAVESTAT_NULLABLE entry, unsigned cpu, unsigned slot, uint64_t number);

#ifdef __cplusplus
}
#endif

#endif
