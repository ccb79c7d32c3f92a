// SPDX-License-Identifier: BSD-2-Clause
//
// Facts about the system, read without libc's help: these are asked for inside the first malloc.

#include "CPlatform.h"
#include <errno.h>
#include <sys/auxv.h>
#include <sys/sysinfo.h>

void *stave_no_memory(void) {
  errno = ENOMEM;
  return NULL;
}

void *stave_invalid(void) {
  errno = EINVAL;
  return NULL;
}

int stave_errno(void) { return errno; }
void stave_set_errno(int error) { errno = error; }

long stave_page_bytes(void) {
  unsigned long bytes = getauxval(AT_PAGESZ);
  return bytes >= 4096 && (bytes & (bytes - 1)) == 0 ? (long)bytes : 4096;
}

// The effective id in a line "Uid: real effective …" of /proc/PID/status.
static unsigned long effective_id(const char *text, long count, char first) {
  for (long at = 0; at + 4 < count; at++) {
    if ((at > 0 && text[at - 1] != '\n') || text[at] != first || text[at + 1] != 'i' || text[at + 2] != 'd' || text[at + 3] != ':') continue;
    unsigned long ids[2] = { 0, 0 };
    at += 4;
    for (int which = 0; which < 2; which++) {
      while (at < count && (text[at] == '\t' || text[at] == ' ')) at++;
      while (at < count && text[at] >= '0' && text[at] <= '9') ids[which] = ids[which] * 10 + (unsigned long)(text[at++] - '0');
    }
    return ids[1];
  }
  return ~0ul;
}

_Bool stave_user_differs(int process) {
  char text[2048], path[32] = "/proc/", reversed[12];
  int end = 6, digits = 0;
  do reversed[digits++] = (char)('0' + process % 10);
  while ((process /= 10) > 0);
  while (digits > 0) path[end++] = reversed[--digits];
  for (const char *tail = "/status"; *tail; tail++) path[end++] = *tail;
  path[end] = 0;
  long file = stave_open(path, 0);
  if (file < 0) return 0;
  long count = stave_read((int)file, text, sizeof text);
  stave_close((int)file);
  if (count <= 0) return 0;
  return effective_id(text, count, 'U') != (unsigned long)stave_syscall6(SYS_geteuid, 0, 0, 0, 0, 0, 0) ||
         effective_id(text, count, 'G') != (unsigned long)stave_syscall6(SYS_getegid, 0, 0, 0, 0, 0, 0);
}

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
  long file = stave_open("/sys/devices/system/cpu/possible", 0), number = -1, digits = 0;
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
