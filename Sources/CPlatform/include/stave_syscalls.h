// SPDX-License-Identifier: BSD-2-Clause
//
// System calls that neither touch errno nor enter libc: they are made from inside malloc, where libc may not be ready.
// Each returns the kernel's answer: a value, or -errno. Debug builds can make the n-th call fail (see stave_inject).

#ifndef STAVE_SYSCALLS_H
#define STAVE_SYSCALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifdef SYS_close_range
#define STAVE_SYS_CLOSE_RANGE SYS_close_range
#else
#define STAVE_SYS_CLOSE_RANGE 436  // the same on every architecture
#endif

#if defined(__x86_64__)
static inline long stave_syscall6(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#else
#include <errno.h>
#include <unistd.h>
static inline long stave_syscall6(long number, long a, long b, long c, long d, long e, long f) {
  int saved = errno;
  long result = syscall(number, a, b, c, d, e, f);
  if (result == -1) result = -errno;
  errno = saved;
  return result;
}
#endif

#ifdef STAVE_INJECT
// Tests set `after` to n: the n-th injectable call from then on answers -`error`, and so do the `more` calls behind it. Zero is
// off. `calls` counts all of them.
// While `always` is set, all of them answer -`always`. `page` is a page size to simulate: what is mapped anywhere begins at a
// multiple of it.
struct stave_injection { long after; long error; long calls; long always; long page; long more; long left; };
extern struct stave_injection stave_injection;
static inline struct stave_injection *_Nonnull stave_inject(void) { return &stave_injection; }
static inline long stave_injected(void) {
  stave_injection.calls++;
  if (stave_injection.always > 0) return -stave_injection.always;
  if (stave_injection.left > 0) return stave_injection.left--, -stave_injection.error;
  if (stave_injection.after > 0 && --stave_injection.after == 0) return stave_injection.left = stave_injection.more, -stave_injection.error;
  return 0;
}
#define STAVE_MAY_FAIL do { long failed = stave_injected(); if (failed) return failed; } while (0)
static inline long stave_mmap_simulated(size_t length, int protection, int flags) {
  uintptr_t page = (uintptr_t)stave_injection.page;
  long start = stave_syscall6(SYS_mmap, 0, (long)(length + page), protection, flags, -1, 0);
  if (start <= 0) return start;
  uintptr_t aligned = ((uintptr_t)start + page - 1) & ~(page - 1);
  if (aligned > (uintptr_t)start) stave_syscall6(SYS_munmap, start, (long)(aligned - (uintptr_t)start), 0, 0, 0, 0);
  stave_syscall6(SYS_munmap, (long)(aligned + length), start + (long)page - (long)aligned, 0, 0, 0, 0);
  return (long)aligned;
}
#else
#define STAVE_MAY_FAIL do { } while (0)
#endif

static inline long stave_mmap(uintptr_t address, size_t length, int protection, int flags) {
  STAVE_MAY_FAIL;
#ifdef STAVE_INJECT
  if (stave_injection.page > 0 && address == 0) return stave_mmap_simulated(length, protection, flags);
#endif
  return stave_syscall6(SYS_mmap, (long)address, (long)length, protection, flags, -1, 0);
}
static inline long stave_munmap(uintptr_t address, size_t length) {
  STAVE_MAY_FAIL;
  return stave_syscall6(SYS_munmap, (long)address, (long)length, 0, 0, 0, 0);
}
static inline long stave_mremap(uintptr_t from, size_t length, size_t wanted, int flags, uintptr_t to) {
  STAVE_MAY_FAIL;
  return stave_syscall6(SYS_mremap, (long)from, (long)length, (long)wanted, flags, (long)to, 0);
}
static inline long stave_mbind(uintptr_t address, size_t length, int policy, const void *_Nullable nodes, long bits, int flags) {
  return stave_syscall6(SYS_mbind, (long)address, (long)length, policy, (long)nodes, bits, flags);
}
static inline long stave_madvise(uintptr_t address, size_t length, int advice) {
  STAVE_MAY_FAIL;
  return stave_syscall6(SYS_madvise, (long)address, (long)length, advice, 0, 0, 0);
}
// Lets pages be moved into a mapping of our own (userfaultfd, UFFDIO_MOVE, since Linux 6.8): a descriptor with a number that no program counts
// on, or -errno. While it is open, a touch of the mapping where there is no page is SIGBUS, EFAULT in a system call: not in children of
// fork. Opened nowhere where a filter of system calls may end the process for it.
long stave_open_mover(uintptr_t start, size_t bytes);
// The memory of `bytes` from `from` on lies at `to` from now on, where there was none; at `from` there is none. -EINVAL in another process
// than the one that opened it, -EBUSY where a child of fork shares it or the kernel is at work on it. How many bytes were moved, fewer if
// one of the pages could not be; or -errno, if none could. May wait for a lock of the kernel's.
long stave_move_pages(int mover, uintptr_t to, uintptr_t from, size_t bytes);
// A mapping that has come in between is the descriptor's, too: 0, or -errno.
long stave_register(int mover, uintptr_t start, size_t bytes);
// Zeros where there was no page, in the process that opened it.
long stave_zero_page(int mover, uintptr_t page, size_t bytes);
// Whether there is a page of memory at `page`.
static inline _Bool stave_is_resident(uintptr_t page) {
  unsigned char is_there = 0;
  return stave_syscall6(SYS_mincore, (long)page, 1, (long)&is_there, 0, 0, 0) == 0 && (is_there & 1);
}
static inline long stave_munlock(uintptr_t address, size_t length) {
  STAVE_MAY_FAIL;
  return stave_syscall6(SYS_munlock, (long)address, (long)length, 0, 0, 0, 0);
}
static inline long stave_mprotect(uintptr_t address, size_t length, int protection) {
  STAVE_MAY_FAIL;
  return stave_syscall6(SYS_mprotect, (long)address, (long)length, protection, 0, 0, 0);
}
// The futex of one process: `word` is waited for while it holds `value`; a timeout in nanoseconds, negative for none.
static inline long stave_futex_wait(const void *_Nonnull word, uint32_t value, int64_t timeout) {
  struct { int64_t seconds, nanoseconds; } limit = { timeout / 1000000000, timeout % 1000000000 };
  return stave_syscall6(SYS_futex, (long)word, 128 /* WAIT | PRIVATE */, value, timeout < 0 ? 0 : (long)&limit, 0, 0);
}
static inline long stave_futex_wake(const void *_Nonnull word, int count) {
  return stave_syscall6(SYS_futex, (long)word, 129 /* WAKE | PRIVATE */, count, 0, 0, 0);
}
static inline long stave_membarrier(int command, unsigned flags, int cpu) {
  STAVE_MAY_FAIL;
  return stave_syscall6(SYS_membarrier, command, flags, cpu, 0, 0, 0);
}
static inline long stave_prctl(int option, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d) {
  return stave_syscall6(SYS_prctl, option, (long)a, (long)b, (long)c, (long)d, 0);
}
static inline long stave_write(int file, const void *_Nonnull bytes, size_t count) {
  return stave_syscall6(SYS_write, file, (long)bytes, (long)count, 0, 0, 0);
}
static inline long stave_read(int file, void *_Nonnull bytes, size_t count) {
#ifdef __clang_analyzer__  // which cannot see what the kernel writes
  __builtin_memset(bytes, 0, count);
#endif
  return stave_syscall6(SYS_read, file, (long)bytes, (long)count, 0, 0, 0);
}
static inline long stave_open(const char *_Nonnull path, int flags) {
  return stave_syscall6(SYS_openat, -100, (long)path, flags, 0, 0, 0);
}
static inline long stave_close(int file) { return stave_syscall6(SYS_close, file, 0, 0, 0, 0, 0); }
static inline long stave_getpid(void) { return stave_syscall6(SYS_getpid, 0, 0, 0, 0, 0, 0); }
static inline long stave_gettid(void) { return stave_syscall6(SYS_gettid, 0, 0, 0, 0, 0, 0); }
static inline long stave_getrandom(void *_Nonnull bytes, size_t count) {
  return stave_syscall6(SYS_getrandom, (long)bytes, (long)count, 1 /* never block */, 0, 0, 0);
}
static inline long stave_yield(void) { return stave_syscall6(SYS_sched_yield, 0, 0, 0, 0, 0, 0); }
// The limit on address space in bytes, the largest number for none.
static inline uint64_t stave_address_space_limit(void) {
  uint64_t limit[2] = { ~0ull, ~0ull };
  stave_syscall6(SYS_prlimit64, 0, 9 /* RLIMIT_AS */, 0, (long)limit, 0, 0);
  return limit[0];
}
static inline int64_t stave_nanoseconds(void) {
  struct { int64_t seconds, nanoseconds; } now = { 0, 0 };
  stave_syscall6(SYS_clock_gettime, 1 /* monotonic */, (long)&now, 0, 0, 0, 0);
  return now.seconds * 1000000000 + now.nanoseconds;
}
// Monotonic too, some milliseconds late, by libc: a load from the kernel's page, no call.
int64_t stave_coarse_nanoseconds(void);
// The CPU that this thread runs on, by libc: a load or the kernel's page of functions rather than a call.
int stave_current_cpu(void);
// A number for the file behind a descriptor, 0 if there is none.
uint64_t stave_file_identity(int descriptor);
// What operator new does without memory: defined by CStaveMalloc.
void *_Nullable stave_new_failed(size_t size);
// errno = ENOMEM; null.
void *_Nullable stave_no_memory(void);
// errno = EINVAL; null.
void *_Nullable stave_invalid(void);
int stave_errno(void);
void stave_set_errno(int error);
enum { STAVE_EINVAL = 22, STAVE_ENOMEM = 12 };
// Bytes of a page, from the auxiliary vector.
long stave_page_bytes(void);
// Gives this thread, which must be one of ours, a table of descriptors of its own, empty. False if the kernel is too old for it
// (before Linux 5.9) or refuses: then it must open nothing, since the program would see it.
_Bool stave_leave_descriptors(void);
// Whether this thread has other rights (users, groups, capabilities, confinement) than the first thread of its process: 1 or 0,
// and -1 if it cannot be found out. Opens files.
int stave_compare_rights(void);
// Gives this thread the niceness and the CPUs of the first thread of its process, and its policy unless that is a real-time one.
// What the system refuses stays as it was.
void stave_schedule_as_process(void);
// CPU numbers that the kernel's sets have room for: no CPU has a larger one, whatever /sys says.
long stave_cpu_set_size(void);
// Whether the program has no thread but this one, as libc knows it; ours do not count.
_Bool stave_is_single_threaded(void);
// Bytes of memory of this machine.
long stave_memory_bytes(void);
// One more than the largest CPU number this system can have.
long stave_possible_cpus(void);
// For the inside of a spinning loop.
static inline void stave_pause(void) {
#if defined(__x86_64__)
  __asm__ volatile("pause");
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
__attribute__((noreturn)) static inline void stave_abort_now(void) {
  // SIGABRT to this thread, with the default action if the program's handler returns: never back into the caller.
  long process = stave_getpid(), thread = stave_gettid();
  stave_syscall6(SYS_tgkill, process, thread, 6, 0, 0, 0);
  uint64_t action[4] = { 0, 0, 0, 0 };
  uint64_t unblocked = 0;
  stave_syscall6(SYS_rt_sigaction, 6, (long)action, 0, 8, 0, 0);
  stave_syscall6(SYS_rt_sigprocmask, 2, (long)&unblocked, 0, 8, 0, 0);
  stave_syscall6(SYS_tgkill, process, thread, 6, 0, 0, 0);
  for (;;) stave_syscall6(SYS_exit_group, 134, 0, 0, 0, 0, 0);
}

#endif
