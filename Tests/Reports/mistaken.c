// SPDX-License-Identifier: BSD-2-Clause
//
// Frees what cannot be freed, in the function that its first argument names, and says whether it got to its end.
// With a second argument it then waits for a signal.

#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// The compiler must neither know the block nor call free as its last act.
#define FUNCTION __attribute__((noinline))
static volatile long turns;
static void *hidden(void *block) { __asm__("" : "+r"(block)); return block; }
static long global[8];

FUNCTION void free_global(void) { char room[200]; memset(hidden(room), 1, 200); free(hidden(&global[1])); turns += room[7]; }
FUNCTION void free_inside(void) { char *block = hidden(malloc(100)); free(hidden(block + 16)); free(block); turns++; }
FUNCTION void free_twice(void) { void *block = hidden(malloc(100)); free(block); free(hidden(block)); turns++; }
FUNCTION void free_large_twice(void) { void *block = hidden(malloc(1 << 20)); free(block); free(hidden(block)); turns++; }
FUNCTION void resize_inside(void) {
  char *block = hidden(malloc(1000));
  errno = 0;
  if (realloc(hidden(block + 16), 5000) != NULL || errno != EINVAL) abort();
  free(block);
  turns++;
}
FUNCTION void resize_free(void) { char *block = hidden(malloc(100)); free(block); turns += realloc(hidden(block), 5000) != NULL; }
FUNCTION void measure_free(void) { char *block = hidden(malloc(100)); free(block); turns += (long)malloc_usable_size(hidden(block)); }
FUNCTION static int compare(const void *a, const void *b) { free_global(); return *(const char *)a - *(const char *)b; }
FUNCTION void in_callback(void) { char letters[2] = "ba"; qsort(hidden(letters), 2, 1, compare); turns++; }
FUNCTION static void *work(void *nothing) { free_inside(); turns++; return nothing; }
FUNCTION void in_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, work, NULL) == 0) pthread_join(thread, NULL);
  turns++;
}
FUNCTION static void handle(int signal) { free_global(); turns += signal; }
FUNCTION void in_handler(void) { signal(SIGUSR1, handle); raise(SIGUSR1); turns++; }
// The saved words of its callers' frames become garbage; the walk must end there.
FUNCTION void on_a_smashed_stack(void) {
  long words[4];
  long *place = hidden(words);
  for (int index = 0; index < 64; index++) place[index] = 0x4141414141414141;
  free_global();
  _exit(0);
}
// Standard error is a pipe that nobody reads.
FUNCTION void to_nobody(void) {
  int ends[2];
  if (pipe(ends) != 0 || dup2(ends[1], 2) != 2 || close(ends[0]) != 0) abort();
  free_twice();
}
// As often as is said, without end of all reports.
FUNCTION void many(void) { for (int index = 0; index < 1500; index++) free(hidden(&global[1])); turns++; }
FUNCTION static void *quarrel(void *nothing) { for (int index = 0; index < 50; index++) free_global(); return nothing; }
FUNCTION void many_threads(void) {
  pthread_t threads[4];
  for (int index = 0; index < 4; index++) pthread_create(&threads[index], NULL, quarrel, NULL);
  for (int index = 0; index < 4; index++) pthread_join(threads[index], NULL);
}

// Reads what another program, run with the rest of the arguments, sends to the system's log.
static int log_of(char **program) {
  struct sockaddr_un place = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
  int log = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (bind(log, (struct sockaddr *)&place, sizeof place) != 0) return 77;
  pid_t child = fork();
  if (child == 0) { execv(program[0], program); _exit(127); }
  // There is room for ten lines as a rule.
  int status, hasEnded = 0;
  while (!hasEnded) {
    hasEnded = waitpid(child, &status, WNOHANG) == child;
    char line[2000];
    ssize_t count;
    while ((count = recv(log, line, sizeof line, MSG_DONTWAIT)) > 0) printf("%.*s\n", (int)count, line);
    usleep(5000);
  }
  return 0;
}

static const struct { const char *name; void (*function)(void); } all[] = {
  { "free_global", free_global }, { "free_inside", free_inside }, { "free_twice", free_twice }, { "free_large_twice", free_large_twice },
  { "resize_inside", resize_inside }, { "in_callback", in_callback }, { "in_thread", in_thread }, { "in_handler", in_handler },
  { "on_a_smashed_stack", on_a_smashed_stack }, { "resize_free", resize_free }, { "measure_free", measure_free }, { "to_nobody", to_nobody }, { "many", many }, { "many_threads", many_threads },
};

int main(int count, char **arguments) {
  if (count > 2 && strcmp(arguments[1], "log") == 0) return log_of(arguments + 2);
  for (unsigned index = 0; count > 1 && index < sizeof all / sizeof *all; index++) {
    if (strcmp(arguments[1], all[index].name) == 0) all[index].function();
  }
  puts("went on");
  fflush(stdout);
  if (count > 2) pause();
  return 0;
}
