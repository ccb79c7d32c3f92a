// SPDX-License-Identifier: BSD-2-Clause
//
// A tracer of probes that needs nothing of the kernel but ptrace: it finds the notes in FILE (the library, or a program that it is part
// of), puts a breakpoint on each probe's nop, counts semaphores up and down through /proc/PID/mem, reads arguments from the registers
// that the notes name, and compares what fired with what the subject says.
//
//     tracer FILE SUBJECT PART [NAME=VALUE ...]

#include "probes.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { mostProbes = 32, mostEvents = 4000 };
struct probe { char name[64]; const char *arguments; uint64_t place, semaphore; };
static struct probe probes[mostProbes];
static unsigned probeCount, eventCount;
static struct event events[mostEvents];
static struct shared *shared;
static pid_t subject;
static int memory;
static uint64_t base;

#define FAIL(...) do { printf("FAILED: " __VA_ARGS__); printf("\n"); if (subject > 0) kill(subject, SIGKILL); exit(1); } while (0)

// The notes: place, base, semaphore, then three strings.
static void readNotes(const char *path) {
  int file = open(path, O_RDONLY);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) FAIL("%s: %s", path, strerror(errno));
  char *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  Elf64_Ehdr *header = (Elf64_Ehdr *)bytes;
  Elf64_Shdr *sections = (Elf64_Shdr *)(bytes + header->e_shoff);
  for (unsigned i = 0; i < header->e_shnum; i++) {
    if (sections[i].sh_type != SHT_NOTE) continue;
    char *at = bytes + sections[i].sh_offset, *end = at + sections[i].sh_size;
    while (at < end) {
      Elf64_Nhdr *note = (Elf64_Nhdr *)at;
      char *name = at + sizeof *note, *text = name + (note->n_namesz + 3) / 4 * 4;
      at = text + (note->n_descsz + 3) / 4 * 4;
      if (note->n_type != 3 || note->n_namesz != 8 || strcmp(name, "stapsdt") != 0 || probeCount == mostProbes) continue;
      uint64_t words[3];
      memcpy(words, text, sizeof words);
      const char *provider = text + sizeof words, *own = provider + strlen(provider) + 1;
      struct probe *probe = &probes[probeCount++];
      snprintf(probe->name, sizeof probe->name, "%s:%s", provider, own);
      probe->place = words[0], probe->semaphore = words[2], probe->arguments = own + strlen(own) + 1;
    }
  }
  if (header->e_type == ET_EXEC) base = UINT64_MAX;
}

// Where the file lies in the subject: its first mapping, less the address that its first segment wants.
static void findBase(const char *path) {
  char name[64], line[1000], whole[4096];
  if (base == UINT64_MAX) { base = 0; return; }
  if (realpath(path, whole) == NULL) FAIL("%s: %s", path, strerror(errno));
  snprintf(name, sizeof name, "/proc/%d/maps", (int)subject);
  FILE *maps = fopen(name, "r");
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
    if (strstr(line, whole) != NULL) { base = strtoull(line, NULL, 16); fclose(maps); return; }
  FAIL("%s is not in the subject", whole);
}

static int64_t registerNamed(const struct user_regs_struct *all, const char *name, size_t length) {
#define IS(which) if (length == strlen(#which) && strncmp(name, #which, length) == 0) return (int64_t)all->which;
  IS(rdi) IS(rsi) IS(rdx) IS(r8) IS(r9) IS(r10) IS(r11) IS(rax) IS(rbx) IS(rcx) IS(rbp) IS(r12) IS(r13) IS(r14) IS(r15)
  FAIL("no register %.*s", (int)length, name);
}

// "8@%rdi -8@%rcx": bytes, signed if negative, where.
static void hear(const struct probe *probe, const struct user_regs_struct *all) {
  if (eventCount == mostEvents) FAIL("too many events");
  struct event *event = &events[eventCount++];
  memset(event, 0, sizeof *event);
  snprintf(event->probe, sizeof event->probe, "%s", probe->name);
  bool isText = strncmp(probe->name, "stave:", 6) == 0;
  for (const char *at = probe->arguments; *at != 0;) {
    bool isSigned = *at == '-';
    const char *place = strchr(at, '@');
    if (labs(strtol(at, NULL, 10)) != 8 || place == NULL || place[1] != '%') FAIL("%s: an argument %s", probe->name, at);
    size_t length = strcspn(place + 2, " ");
    int64_t number = registerNamed(all, place + 2, length);
    if (!isSigned && number < 0) FAIL("%s: %s is negative", probe->name, at);
    if (isText) {
      if (pread(memory, event->text, sizeof event->text - 1, number) <= 0) FAIL("%s: its text is nowhere", probe->name);
    } else event->values[event->count++] = number;
    isText = false;
    at = place + 2 + length;
    while (*at == ' ') at++;
  }
}

static bool same(const struct event *one, const struct event *wanted) {
  if (strcmp(one->probe, wanted->probe) != 0 || strcmp(one->text, wanted->text) != 0 || one->count < wanted->count) return false;
  for (unsigned i = 0; i < wanted->count; i++)
    if (wanted->values[i] != anyValue && one->values[i] != wanted->values[i]) return false;
  return true;
}
static void show(const char *what, const struct event *event) {
  printf("%s %s %s", what, event->probe, event->text);
  for (unsigned i = 0; i < event->count; i++) printf(" %ld", (long)event->values[i]);
  printf("\n");
}

static void compare(bool isAll, int number) {
  bool good = !isAll || eventCount == shared->count;
  for (unsigned i = 0; i < shared->count && good; i++) {
    bool found = false;
    if (isAll) found = same(&events[i], &shared->expected[i]);
    else for (unsigned k = 0; k < eventCount && !found; k++) found = same(&events[k], &shared->expected[i]);
    if (!found) good = false;
  }
  if (good) return;
  for (unsigned i = 0; i < shared->count; i++) show("expected", &shared->expected[i]);
  for (unsigned i = 0; i < eventCount && i < 100; i++) show("fired   ", &events[i]);
  FAIL("request %d (%s): %u events, %u expected", number, isAll ? "all" : "some", eventCount, shared->count);
}

static void change(const char *name, int by) {
  for (unsigned i = 0; i < probeCount; i++) {
    if (strcmp(probes[i].name, name) != 0) continue;
    uint16_t number = 0;
    off_t place = (off_t)(base + probes[i].semaphore);
    if (pread(memory, &number, 2, place) != 2) FAIL("no semaphore of %s", name);
    number = (uint16_t)(number + by);
    if (pwrite(memory, &number, 2, place) != 2) FAIL("no semaphore of %s", name);
    return;
  }
  FAIL("no probe %s", name);
}

static void obey(int number) {
  const char *request = shared->request;
  if (request[0] == '+' || request[0] == '-') return change(request + 1, request[0] == '+' ? 1 : -1);
  unsigned count = 0;
  if (strcmp(request, "count") != 0) compare(strcmp(request, "all") == 0, number);
  else {
    for (unsigned i = 0; i < eventCount; i++) count += strcmp(events[i].probe, shared->expected[0].probe) == 0;
    if (count < shared->least || count > shared->most) FAIL("request %d: %s fired %u times", number, shared->expected[0].probe, count);
  }
  eventCount = 0;
}

int main(int count, char **words) {
  if (count < 4) return 2;
  readNotes(words[1]);
  int file = memfd_create("events", 0);
  if (file < 0 || ftruncate(file, sizeof *shared) != 0 || dup2(file, sharedDescriptor) < 0) FAIL("%s", strerror(errno));
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  alarm(60);
  subject = fork();
  if (subject == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 4; i < count; i++) putenv(words[i]);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(77);
    execl(words[2], words[2], words[3], NULL);
    _exit(3);
  }
  int requests = 0, sent = 0;
  for (int status;;) {
    if (waitpid(subject, &status, 0) != subject) FAIL("waitpid: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) { printf("SKIPPED: ptrace is not permitted\n"); return 77; }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && requests > 0) { printf("%d requests, %u probes\n", requests, probeCount); return 0; }
    if (!WIFSTOPPED(status)) FAIL("the subject ended with %#x", (unsigned)status);
    struct user_regs_struct all;
    ptrace(PTRACE_GETREGS, subject, NULL, &all);
    const struct probe *hit = NULL;
    sent = WSTOPSIG(status);
    for (unsigned i = 0; i < probeCount && memory > 0; i++)
      if (sent == SIGTRAP && all.rip == base + probes[i].place + 1) hit = &probes[i];
    if (hit != NULL) hear(hit, &all), sent = 0;
    else if (sent == SIGTRAP && memory == 0) sent = 0;  // exec
    else if (sent == SIGSTOP) {
      sent = 0;
      if (memory == 0) {
        char name[64];
        snprintf(name, sizeof name, "/proc/%d/mem", (int)subject);
        if ((memory = open(name, O_RDWR)) < 0) FAIL("%s: %s", name, strerror(errno));
        findBase(words[1]);
        for (unsigned i = 0; i < probeCount; i++) {
          uint8_t byte = 0;
          off_t place = (off_t)(base + probes[i].place);
          if (pread(memory, &byte, 1, place) != 1 || byte != 0x90) FAIL("%s: no nop where its note says", probes[i].name);
          byte = 0xcc;
          if (pwrite(memory, &byte, 1, place) != 1) FAIL("%s: no breakpoint", probes[i].name);
        }
      }
      obey(++requests);
    }
    if (ptrace(PTRACE_CONT, subject, NULL, (void *)(uintptr_t)sent) != 0) FAIL("ptrace: %s", strerror(errno));
  }
}
