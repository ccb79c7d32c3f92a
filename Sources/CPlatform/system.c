// SPDX-License-Identifier: BSD-2-Clause
//
// Facts about the system, read without libc's help: these are asked for inside the first malloc.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CPlatform.h"
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>

void *stave_no_memory(void) {
  errno = ENOMEM;
  return NULL;
}

void *stave_invalid(void) {
  errno = EINVAL;
  return NULL;
}

uint64_t stave_file_identity(int descriptor) {
  struct stat status = { 0 };
  if (stave_syscall6(SYS_fstat, descriptor, (long)&status, 0, 0, 0, 0) < 0) return 0;
  return (status.st_ino * 0x9e3779b97f4a7c15u ^ status.st_dev) | 1;
}

int64_t stave_coarse_nanoseconds(void) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * 1000000000 + now.tv_nsec;
}

// Whether a filter of system calls may be in place for this thread: it may end the process for one that it does not know.
static _Bool is_filtered(void) {
  static const char none[] = "\nSeccomp:\t0\n";
  char text[4096];
  long file = stave_open("/proc/thread-self/status", 02000000 /* O_CLOEXEC */);
  if (file < 0) return 1;
  long count = stave_read((int)file, text, sizeof text);
  stave_close((int)file);
  for (long at = 0; at + (long)sizeof none - 1 <= count; at++) {
    unsigned same = 0;
    while (same < sizeof none - 1 && text[at + same] == none[same]) same++;
    if (same == sizeof none - 1) return 0;
  }
  return 1;
}

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

long stave_register(int mover, uintptr_t start, size_t bytes) {
  struct uffdio_register range = { .range = { start, bytes }, .mode = UFFDIO_REGISTER_MODE_MISSING };
  return stave_syscall6(SYS_ioctl, mover, UFFDIO_REGISTER, (long)&range, 0, 0, 0);
}

long stave_open_mover(uintptr_t start, size_t bytes) {
  enum { MOVE = 1 << 16, SIGNAL = 1 << 7, AT_LEAST = 960, DUPLICATE = 1030 /* F_DUPFD_CLOEXEC */ };
  STAVE_MAY_FAIL;
  if (is_filtered()) return -1 /* EPERM */;
  long low = stave_syscall6(SYS_userfaultfd, 02000000 /* O_CLOEXEC */ | UFFD_USER_MODE_ONLY, 0, 0, 0, 0, 0);
  if (low < 0) return low;
  struct uffdio_api interface = { .api = UFFD_API, .features = MOVE | SIGNAL };
  long mover = stave_syscall6(SYS_ioctl, low, UFFDIO_API, (long)&interface, 0, 0, 0);
  if (mover == 0) mover = stave_register((int)low, start, bytes);
  if (mover == 0) mover = stave_syscall6(SYS_fcntl, low, DUPLICATE, AT_LEAST, 0, 0, 0);
  stave_close((int)low);
  return mover;
}

long stave_move_pages(int mover, uintptr_t to, uintptr_t from, size_t bytes) {
  STAVE_MAY_FAIL;
  // Nobody waits for the page.
  struct { uint64_t to, from, bytes, mode; int64_t moved; } pages = { to, from, bytes, 1 /* DONTWAKE */, 0 };
  long answer = stave_syscall6(SYS_ioctl, mover, _IOWR(UFFDIO, 0x05, pages) /* UFFDIO_MOVE */, (long)&pages, 0, 0, 0);
  return answer == 0 || pages.moved > 0 ? pages.moved : answer;
}

long stave_zero_page(int mover, uintptr_t page, size_t bytes) {
  struct uffdio_zeropage zero = { .range = { page, bytes } };
  return stave_syscall6(SYS_ioctl, mover, UFFDIO_ZEROPAGE, (long)&zero, 0, 0, 0);
}

int stave_current_cpu(void) { return sched_getcpu(); }

int stave_errno(void) { return errno; }
void stave_set_errno(int error) { errno = error; }

long stave_page_bytes(void) {
  unsigned long bytes = getauxval(AT_PAGESZ);
  return bytes >= 4096 && (bytes & (bytes - 1)) == 0 ? (long)bytes : 4096;
}

// A digest of the lines of a status file that say what its task may do; 0 if it cannot be read.
static uint64_t rights(const char *path) {
  static const char names[][4] = { "Uid", "Gid", "Gro", "Cap", "NoN", "Sec" };
  char text[4096];
  long file = stave_open(path, 02000000 /* O_CLOEXEC */);
  if (file < 0) return 0;
  long count = stave_read((int)file, text, sizeof text);
  stave_close((int)file);
  uint64_t digest = count > 0 ? 1 : 0;
  for (long at = 0, end; at + 3 < count; at = end + 1) {
    for (end = at; end < count && text[end] != '\n';) end++;
    for (unsigned name = 0; name < sizeof names / sizeof *names; name++) {
      if (text[at] != names[name][0] || text[at + 1] != names[name][1] || text[at + 2] != names[name][2]) continue;
      for (long index = at; index < end; index++) digest = (digest ^ (unsigned char)text[index]) * 0x100000001b3u;
    }
  }
  return digest;
}

_Bool stave_leave_descriptors(void) {
  // A table of its own, from the first descriptor on empty: nothing of the program's is held open by it.
  return stave_syscall6(STAVE_SYS_CLOSE_RANGE, 0, ~0u, 2 /* CLOSE_RANGE_UNSHARE */, 0, 0, 0) == 0;
}

int stave_compare_rights(void) {
  uint64_t first = rights("/proc/self/status"), own = rights("/proc/thread-self/status");
  return first == 0 || own == 0 ? -1 : first != own;
}

void stave_schedule_as_process(void) {
  enum { batch = 3, idle = 5 };
  long process = stave_getpid();
  long wanted = stave_syscall6(SYS_sched_getscheduler, process, 0, 0, 0, 0, 0);
  if (wanted != batch && wanted != idle) wanted = 0;
  if (stave_syscall6(SYS_sched_getscheduler, 0, 0, 0, 0, 0, 0) != wanted) {
    int priority = 0;
    stave_syscall6(SYS_sched_setscheduler, 0, wanted, (long)&priority, 0, 0, 0);
  }
  // The kernel answers 20 - nice.
  long niceness = stave_syscall6(SYS_getpriority, 0, process, 0, 0, 0, 0);
  if (niceness > 0 && niceness != stave_syscall6(SYS_getpriority, 0, 0, 0, 0, 0, 0)) {
    stave_syscall6(SYS_setpriority, 0, 0, 20 - niceness, 0, 0, 0);
  }
  unsigned char cpus[STAVE_MAX_CPUS / 8];
  long bytes = stave_syscall6(SYS_sched_getaffinity, process, sizeof cpus, (long)cpus, 0, 0, 0);
  if (bytes > 0) stave_syscall6(SYS_sched_setaffinity, 0, bytes, (long)cpus, 0, 0, 0);
}

long stave_cpu_set_size(void) {
  unsigned char set[STAVE_MAX_CPUS / 8];
  long bytes = stave_syscall6(SYS_sched_getaffinity, 0, sizeof set, (long)set, 0, 0, 0);
  return bytes > 0 ? bytes * 8 : STAVE_MAX_CPUS;
}

// Since glibc 2.32.
extern char __libc_single_threaded __attribute__((weak));
_Bool stave_is_single_threaded(void) { return &__libc_single_threaded != NULL && __libc_single_threaded; }

long stave_memory_bytes(void) {
  struct sysinfo info = { 0 };
  stave_syscall6(SYS_sysinfo, (long)&info, 0, 0, 0, 0, 0);
  return (long)(info.totalram * (info.mem_unit ? info.mem_unit : 1));
}

#ifdef STAVE_PRELOAD
// Swift's Hasher, which nothing here uses, would ask libc 2.36 for it.
__attribute__((visibility("hidden"))) void arc4random_buf(void *bytes, size_t count) { stave_getrandom(bytes, count); }
#endif

// The last number in "0-7" or "0,2-5"; sparse numbers are why the count of CPUs will not do.
long stave_possible_cpus(void) {
  char text[4096];
  long file = stave_open("/sys/devices/system/cpu/possible", 02000000 /* O_CLOEXEC */), number = -1, digits = 0;
  if (file >= 0) {
    long count = stave_read((int)file, text, sizeof text);
    stave_close((int)file);
    for (long index = 0; index < count; index++) {
      if (text[index] >= '0' && text[index] <= '9') {
        number = digits ? number * 10 + (text[index] - '0') : text[index] - '0';
        digits = 1;
      } else {
        digits = 0;
      }
    }
  }
  return number >= 0 ? number + 1 : STAVE_MAX_CPUS;
}
