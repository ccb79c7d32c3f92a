// SPDX-License-Identifier: BSD-2-Clause
//
// The definitions behind stave_storage.h.

#include "CPlatform.h"

struct stave_hot stave_hot_storage __attribute__((aligned(64)));
struct stave_cell stave_empty_cells[STAVE_MAX_CELLS] __attribute__((aligned(64)));
struct stave_cell_place stave_cell_places_storage[STAVE_MAX_CELLS];
uintptr_t stave_fork_owner_storage;
uintptr_t stave_own_thread_storage;
void *stave_regions_storage[STAVE_MAX_CPUS];
void *stave_kegs_storage[STAVE_MAX_KEGS];
unsigned char stave_boot_memory[STAVE_BOOT_BYTES] __attribute__((aligned(4096)));
unsigned char stave_root_bytes[STAVE_ROOT_BYTES] __attribute__((aligned(4096)));
#ifdef STAVE_PRELOAD
#define STAVE_ROOT_BINDING visibility("default")
#else
// A program with the reader in it may be linked with libstave.a, whose root is the one.
#define STAVE_ROOT_BINDING visibility("default"), weak
#endif
extern unsigned char stave_root[STAVE_ROOT_BYTES] __attribute__((alias("stave_root_bytes"), STAVE_ROOT_BINDING));
struct stave_callers stave_callers_storage;
char stave_kept_program_name[32];
struct stave_code stave_own_code;
char stave_report_path_storage[STAVE_REPORT_PATH_BYTES];
stave_stack_writer stave_stack_writer_storage;
#ifdef STAVE_INJECT
struct stave_injection stave_injection;
#endif
__thread struct stave_type *stave_thread_type_storage STAVE_HIDDEN __attribute__((tls_model("initial-exec")));
#ifdef STAVE_CHECK_LOCKS
__thread void *stave_thread_slot_storage __attribute__((tls_model("initial-exec")));
#endif
uint64_t stave_caller_types_storage[1 << STAVE_CALLER_BITS] __attribute__((aligned(64)));
