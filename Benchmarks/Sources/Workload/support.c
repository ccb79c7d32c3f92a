// SPDX-License-Identifier: BSD-2-Clause
//
// Clocks, memory figures, output and threads for the workloads. Nothing here allocates while a workload is measured.

#include "workload.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

uint64_t nanoseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t residentKiB(void) {
  char text[1024];
  int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  if (file < 0) die("no /proc/self/smaps_rollup");
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  text[length > 0 ? length : 0] = 0;
  const char *at = strstr(text, "\nRss:");
  if (!at) die("no Rss line");
  uint64_t value = 0;
  for (at += 5; *at == ' '; at++) {}
  for (; *at >= '0' && *at <= '9'; at++) value = value * 10 + (uint64_t)(*at - '0');
  return value;
}

void reportFigure(const char *name, uint64_t value) {
  char line[96];
  size_t length = strlen(name);
  if (length > 64) die("long name");
  memcpy(line, name, length);
  line[length++] = ' ';
  char digits[20];
  int n = 0;
  do digits[n++] = (char)('0' + value % 10); while (value /= 10);
  while (n) line[length++] = digits[--n];
  line[length++] = '\n';
  if (write(STDOUT_FILENO, line, length) < 0) _exit(3);
}

void die(const char *why) {
  (void)!write(STDERR_FILENO, "workload: ", 10);
  (void)!write(STDERR_FILENO, why, strlen(why));
  (void)!write(STDERR_FILENO, "\n", 1);
  _exit(3);
}

int cpuCount(void) {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
}

static void pin(pthread_attr_t *attributes, int cpu) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
  int left = cpu % CPU_COUNT(&allowed);
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (!CPU_ISSET(i, &allowed) || left--) continue;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    pthread_attr_setaffinity_np(attributes, sizeof one, &one);
    return;
  }
}

void startThread(uint64_t *handle, Body *body, void *argument, int cpu) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 << 10);
  if (cpu >= 0) pin(&attributes, cpu);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, body, argument)) die("cannot start a thread");
  pthread_attr_destroy(&attributes);
  *handle = (uint64_t)thread;
}

void joinThread(uint64_t handle) { pthread_join((pthread_t)handle, NULL); }
