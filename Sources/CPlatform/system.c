// SPDX-License-Identifier: BSD-2-Clause
//
// Facts about the system, read without libc's help: these are asked for inside the first malloc.

#include "CPlatform.h"
#include <errno.h>
#include <sys/auxv.h>

void *stave_no_memory(void) {
  errno = ENOMEM;
  return NULL;
}

long stave_page_bytes(void) {
  unsigned long bytes = getauxval(AT_PAGESZ);
  return bytes >= 4096 && (bytes & (bytes - 1)) == 0 ? (long)bytes : 4096;
}

// The last number in "0-7" or "0,2-5"; sparse numbers are why the count of CPUs will not do.
long stave_possible_cpus(void) {
  char text[256];
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
