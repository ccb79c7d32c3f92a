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
// As write(2), but that nobody is told of a pipe without a reader: a SIGPIPE of this call is taken back.
static inline long stave_write_quietly(int file, const void *_Nonnull bytes, size_t count) {
  uint64_t pipes = 1ull << (13 - 1), before = 0, pending = 0;
  int64_t now[2] = { 0, 0 };
  stave_syscall6(SYS_rt_sigprocmask, 0 /* BLOCK */, (long)&pipes, (long)&before, 8, 0, 0);
  stave_syscall6(SYS_rt_sigpending, (long)&pending, 8, 0, 0, 0, 0);
  long written = stave_write(file, bytes, count);
  if (written == -32 /* EPIPE */ && !(pending & pipes)) stave_syscall6(SYS_rt_sigtimedwait, (long)&pipes, 0, (long)now, 8, 0, 0);
  stave_syscall6(SYS_rt_sigprocmask, 2 /* SETMASK */, (long)&before, 0, 8, 0, 0);
  return written;
}
// One datagram for whoever reads /dev/log; negative if nobody does.
static inline long stave_send_to_log(int socket, const void *_Nonnull bytes, size_t count) {
  struct { uint16_t family; char path[9]; } place = { 1 /* UNIX */, "/dev/log" };
  return stave_syscall6(SYS_sendto, socket, (long)bytes, (long)count, 0x4000 /* NOSIGNAL */, (long)&place, sizeof place);
}
// What is sent waits for a reader whose queue is full, which has room for ten datagrams as a rule: a quarter of a second at most.
static inline long stave_log_socket(void) {
  long socket = stave_syscall6(SYS_socket, 1 /* UNIX */, 2 /* DGRAM */ | 02000000 /* CLOEXEC */, 0, 0, 0, 0);
  int64_t most[2] = { 0, 250000 };
  if (socket >= 0) stave_syscall6(SYS_setsockopt, socket, 1 /* SOCKET */, 21 /* SNDTIMEO */, (long)most, sizeof most, 0);
  return socket;
}
// A file to be added to, made if it is not there, for its owner alone; no terminal, and no wait for who reads a pipe.
static inline long stave_open_to_append(const char *_Nonnull path) {
  return stave_syscall6(SYS_openat, -100, (long)path, 01 | 0100 | 0400 | 02000 | 04000 | 02000000 /* WRONLY CREAT NOCTTY APPEND NONBLOCK CLOEXEC */, 0600, 0, 0);
}

#endif
