// SPDX-License-Identifier: BSD-2-Clause
//
// launch REPORT OUTPUT LIBRARY SECONDS PROGRAM ARGUMENTS…: runs a program under an allocator and measures it.
//
// Small on purpose: the kernel counts the memory of the process that calls exec into the peak of the one that is called,
// so the runner itself, of tens of MB, must not be the parent. LIBRARY (or "-") is preloaded into the program only.
// Whether it really got there is read from the program's memory map in its first moments; a static or privileged
// program, or a library that the loader refuses, shows as `loaded 0`. After SECONDS the program and its
// descendants are killed. REPORT receives one `name value` a line.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static long long microseconds(struct timeval t) { return t.tv_sec * 1000000ll + t.tv_usec; }

static int isMapped(pid_t child, const char *library) {
  char path[64], line[PATH_MAX + 128];
  snprintf(path, sizeof path, "/proc/%d/maps", (int)child);
  FILE *maps = fopen(path, "re");
  if (!maps) return 0;
  int found = 0;
  while (!found && fgets(line, sizeof line, maps)) found = strstr(line, library) != NULL;
  fclose(maps);
  return found;
}

/// In the child: output to the file, the library into the environment, and away.
static void become(char **program, const char *output, const char *library, const sigset_t *mask) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int in = open("/dev/null", O_RDONLY), out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(126);
  if (*library) setenv("LD_PRELOAD", library, 1), setenv("STAVE_BENCH_EXPECT", library, 1);
  sigprocmask(SIG_SETMASK, mask, NULL);
  execvp(program[0], program);
  fprintf(stderr, "launch: %s: %s\n", program[0], strerror(errno));
  _exit(127);
}

/// Sleeps until a child ends, `nanos` at most.
static void nap(const sigset_t *children, long long nanos) {
  struct timespec time = {.tv_sec = nanos / 1000000000, .tv_nsec = nanos % 1000000000};
  sigtimedwait(children, NULL, &time);
}

int main(int count, char **words) {
  if (count < 6) return fprintf(stderr, "usage: launch REPORT OUTPUT LIBRARY SECONDS PROGRAM ARGUMENTS…\n"), 2;
  char library[PATH_MAX] = "";
  if (strcmp(words[3], "-") != 0 && !realpath(words[3], library)) return perror(words[3]), 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t children, before;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, &before);

  long long start = nanoseconds(), limit = start + atoll(words[4]) * 1000000000ll, now = start;
  pid_t child = fork();
  if (child < 0) return perror("fork"), 2;
  if (child == 0) become(words + 5, words[2], library, &before);

  int status, loaded = !*library, expired = 0;
  struct rusage usage;
  while (wait4(child, &status, WNOHANG, &usage) == 0) {
    now = nanoseconds();
    if (now > limit && !expired) expired = 1, kill(-child, SIGKILL);
    // Look often at first, then rarely: reading the map holds the program up.
    if (!loaded) loaded = isMapped(child, library);
    nap(&children, loaded || expired ? 1000000000 : now - start < 20000000 ? 1000000 : 50000000);
  }
  long long wall = nanoseconds() - start;
  kill(-child, SIGKILL);  // whatever it left running

  FILE *report = fopen(words[1], "we");
  if (!report) return perror(words[1]), 2;
  fprintf(report, "wall_ns %lld\nuser_us %lld\nsystem_us %lld\npeak_kib %ld\n", wall, microseconds(usage.ru_utime),
          microseconds(usage.ru_stime), usage.ru_maxrss);
  fprintf(report, "status %d\nloaded %d\nexpired %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          loaded, expired);
  return fclose(report) ? 2 : 0;
}
