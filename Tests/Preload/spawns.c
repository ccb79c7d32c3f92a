// SPDX-License-Identifier: BSD-2-Clause
//
// The other ways to start a program, with threads allocating meanwhile: vfork and exec, posix_spawn, system, popen; and exec
// of the process itself in the middle of its threads' work, which must arrive in a working new image.

#include <spawn.h>
#include <stdatomic.h>

#include "scenario.h"

extern char **environ;
static atomic_int stop;
static char self[4096];

static void *work(void *argument) {
  Random random = randomFrom((uintptr_t)argument);
  void *mine[100] = {0};
  size_t sizes[100] = {0};
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    unsigned slot = (unsigned)below(&random, 100);
    if (mine[slot]) verify(mine[slot], sizes[slot], tagOf(mine[slot], 1), "in a thread");
    free(mine[slot]);
    sizes[slot] = randomSize(&random, 100000);
    mine[slot] = malloc(sizes[slot]);
    CHECK(mine[slot], "%zu bytes: %s", sizes[slot], strerror(errno));
    paint(mine[slot], sizes[slot], tagOf(mine[slot], 1));
  }
  for (unsigned i = 0; i < 100; i++) free(mine[i]);
  return NULL;
}

static void expectStatus(pid_t child, int wanted, const char *what) {
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR, "waitpid: %s", strerror(errno));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == wanted, "%s ended with wait status %#x", what, status);
}

static void viaVfork(void) {
  char *const arguments[] = {(char *)"sh", (char *)"-c", (char *)"exit 5", NULL};
  pid_t child = vfork();
  if (child == 0) {
    execv("/bin/sh", arguments);
    _exit(99);
  }
  CHECK(child > 0, "vfork: %s", strerror(errno));
  expectStatus(child, 5, "a vforked program");
  child = vfork();
  if (child == 0) _exit(6);
  CHECK(child > 0, "vfork: %s", strerror(errno));
  expectStatus(child, 6, "a vforked child that just ends");
}

static void viaSpawn(void) {
  posix_spawn_file_actions_t actions;
  CHECK(posix_spawn_file_actions_init(&actions) == 0, "no file actions");
  CHECK(posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) == 0, "no file action");
  char *const arguments[] = {(char *)"sh", (char *)"-c", (char *)"echo a; exit 7", NULL};
  pid_t child;
  int error = posix_spawnp(&child, "sh", &actions, NULL, arguments, environ);
  CHECK(error == 0, "posix_spawnp: %s", strerror(error));
  posix_spawn_file_actions_destroy(&actions);
  expectStatus(child, 7, "a spawned program");
  error = posix_spawn(&child, "/nonexistent/program", NULL, NULL, arguments, environ);
  CHECK(error == ENOENT, "spawning nothing returned %d", error);
}

static void viaShell(void) {
  int status = system("exit 3");
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3, "system returned %#x", status);
  FILE *pipe = popen("echo one two", "re");
  CHECK(pipe, "popen: %s", strerror(errno));
  char line[64] = "";
  CHECK(fgets(line, sizeof line, pipe) && !strcmp(line, "one two\n"), "popen gave '%s'", line);
  status = pclose(pipe);
  CHECK(status == 0, "pclose returned %#x", status);
}

/// A new process starts threads and replaces itself under them, twice.
static void busy(const char *next) {
  alarm(60);
  for (unsigned i = 0; i < 4; i++) startThread(work, (void *)(uintptr_t)(i + 1));
  Random random = randomFrom(77);
  usleep((useconds_t)below(&random, 4000));
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed + 1);
  execl(self, self, next, "--seed", text, expectStave ? "--expect-stave" : (char *)NULL, (char *)NULL);
  _exit(98);
}

static void viaExec(unsigned long round) {
  char text[32];
  snprintf(text, sizeof text, "%lu", round * 10 + 1);
  char *const arguments[] = {self, (char *)"busy", (char *)"--seed", text, expectStave ? (char *)"--expect-stave" : NULL, NULL};
  pid_t child;
  int error = posix_spawn(&child, self, NULL, NULL, arguments, environ);
  CHECK(error == 0, "posix_spawn: %s", strerror(error));
  expectStatus(child, 42, "a program that replaced itself");
}

int main(int count, char **arguments) {
  begin(count, arguments);
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0, "/proc/self/exe: %s", strerror(errno));
  self[length] = 0;
  if (!strcmp(role, "busy")) busy("busier");
  if (!strcmp(role, "busier")) busy("arrived");
  if (!strcmp(role, "arrived")) {
    for (unsigned i = 0; i < 2000; i++) free(hide(malloc(probeSize(i))));
    _exit(42);
  }
  pthread_t threads[3];
  for (unsigned i = 0; i < 3; i++) threads[i] = startThread(work, (void *)(uintptr_t)(i + 1));
  for (unsigned long round = 0; round < scaled(30); round++) {
    viaVfork();
    viaSpawn();
    if (round % 2 == 0) viaShell();
    viaExec(round);
  }
  atomic_store(&stop, 1);
  for (unsigned i = 0; i < 3; i++) joinThread(threads[i]);
  return 0;
}
