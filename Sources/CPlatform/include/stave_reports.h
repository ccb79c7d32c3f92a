// SPDX-License-Identifier: BSD-2-Clause
//
// What is known of reports: where they go, what follows them, and how many there were. A part of the root, so that readers outside
// see the number; the path of the file lies apart.

#ifndef STAVE_REPORTS_H
#define STAVE_REPORTS_H

#include "stave_storage.h"
#include "stave_syscalls.h"

enum { STAVE_REPORTS_OFFSET = 4224, STAVE_REPORT_PATH_BYTES = 256 };

struct stave_reports {
  int64_t count;                  // of mistakes of the program
  int64_t misdirected;            // writes that went to standard error because their place would not take them
  uint32_t mode;                  // the option onreport: 0 the process ends, 1 it goes on
  uint32_t place;                 // the option report: 0 standard error, 1 the system's log, 2 a file
  int32_t writer;                 // the thread that is writing one; 0: nobody is
  int32_t copy;                   // of standard error, to be used in its place; 0: none
};
_Static_assert(STAVE_REPORTS_OFFSET + sizeof(struct stave_reports) <= STAVE_ROOT_BYTES, "it lies in the root");

static inline struct stave_reports *_Nonnull stave_reports(void) { return (struct stave_reports *)(void *)(stave_root_bytes + STAVE_REPORTS_OFFSET); }

extern char stave_report_path_storage[STAVE_REPORT_PATH_BYTES] STAVE_HIDDEN;
static inline char *_Nonnull stave_report_path(void) { return stave_report_path_storage; }

// Adds the stack that it is called on to a report (Diagnostics, which Primitives cannot call).
typedef void (*stave_stack_writer)(void *_Nonnull report);
extern stave_stack_writer _Nullable stave_stack_writer_storage STAVE_HIDDEN;
static inline stave_stack_writer _Nullable stave_get_stack_writer(void) { return stave_stack_writer_storage; }
static inline void stave_set_stack_writer(stave_stack_writer _Nullable writer) { stave_stack_writer_storage = writer; }

// Seconds and nanoseconds since 1970.
static inline void stave_wall_time(int64_t *_Nonnull time) { stave_syscall6(SYS_clock_gettime, 0, (long)time, 0, 0, 0, 0); }
// One datagram for whoever reads /dev/log; negative if nobody does.
static inline long stave_send_to_log(int socket, const void *_Nonnull bytes, size_t count) {
  struct { uint16_t family; char path[9]; } place = { 1 /* UNIX */, "/dev/log" };
  return stave_syscall6(SYS_sendto, socket, (long)bytes, (long)count, 0x4000 /* NOSIGNAL */, (long)&place, sizeof place);
}
static inline long stave_log_socket(void) {
  return stave_syscall6(SYS_socket, 1 /* UNIX */, 2 /* DGRAM */ | 04000 /* NONBLOCK */ | 02000000 /* CLOEXEC */, 0, 0, 0, 0);
}
// A file to be added to, made if it is not there, for its owner alone; no terminal.
static inline long stave_open_to_append(const char *_Nonnull path) {
  return stave_syscall6(SYS_openat, -100, (long)path, 01 | 0100 | 0400 | 02000 | 02000000 /* WRONLY CREAT NOCTTY APPEND CLOEXEC */, 0600, 0, 0);
}

#endif
