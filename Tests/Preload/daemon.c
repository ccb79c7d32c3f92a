// SPDX-License-Identifier: BSD-2-Clause
//
// What daemons do with descriptors: all are closed, standard error too, and files are opened in their place. The table that
// `stats:exit` prints must not end up in one of them. Only with --expect-stave.

#include <fcntl.h>

#include "scenario.h"

static char file[] = "/tmp/stave-daemon-XXXXXX";

static int serve(void) {
  for (int descriptor = 0; descriptor < 1024; descriptor++) close(descriptor);
  for (int descriptor = 0; descriptor < 100; descriptor++)
    if (open(getenv("DAEMON_FILE"), O_RDWR) != descriptor) _exit(1);
  free(malloc(10));
  return 0;
}

int main(int count, char **arguments) {
  if (getenv("DAEMON_FILE")) return serve();
  begin(count, arguments);
  if (!expectStave) return 0;
  int descriptor = mkstemp(file);
  CHECK(descriptor >= 0, "mkstemp: %s", strerror(errno));
  setenv("DAEMON_FILE", file, 1);
  setenv("STAVE_STATS", "exit", 1);
  pid_t child = fork();
  if (child == 0) {
    execv("/proc/self/exe", arguments);
    _exit(98);
  }
  expectSuccess(child, "a daemon");
  off_t size = lseek(descriptor, 0, SEEK_END);
  unlink(file);
  CHECK(size == 0, "%ld bytes were written into the program's file", (long)size);
  return 0;
}
