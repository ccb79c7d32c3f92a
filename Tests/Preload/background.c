// SPDX-License-Identifier: BSD-2-Clause
//
// The thread that gives memory back while the program idles, and what a program does that a thread of somebody else's could
// disturb: a child of vfork that allocates, a change of user, leaving for another user namespace. Only with --expect-stave: no
// other allocator promises it.

#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "scenario.h"

enum { MiB = 1 << 20 };

static void rest(unsigned milliseconds) { usleep(milliseconds * 1000); }

static long residentMiB(void) {
  char text[128] = "";
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0, "statm: %s", strerror(errno));
  close(file);
  long size = 0, resident = 0;
  CHECK(sscanf(text, "%ld %ld", &size, &resident) == 2, "statm is '%s'", text);
  return resident * sysconf(_SC_PAGESIZE) / MiB;
}

/// Blocks of 8 MiB, all touched, then all freed.
static void growAndFree(size_t mebibytes) {
  void *blocks[64];
  size_t count = mebibytes / 8;
  for (size_t i = 0; i < count; i++) {
    blocks[i] = malloc(8 * MiB);
    CHECK(blocks[i], "8 MiB: %s", strerror(errno));
    memset(blocks[i], 1, 8 * MiB);
  }
  for (size_t i = 0; i < count; i++) free(blocks[i]);
}

static void expectGivenBack(long before, const char *when) {
  for (unsigned tries = 0; tries < 400 && residentMiB() > before + 8; tries++) rest(100);
  CHECK(residentMiB() <= before + 8, "%s: %ld MiB resident, %ld before anything was freed", when, residentMiB(), before);
}

static void idle(void) {
  long before = residentMiB();
  growAndFree(128);
  expectGivenBack(before, "a program that idles");
}

/// Blocks of many classes, as many as depots and cells have room for, all freed while the process is young; then no call more.
static void depots(void) {
  static void *blocks[60000];
  memset(blocks, 1, sizeof blocks);
  long before = residentMiB();
  unsigned count = 0;
  for (size_t doubling = 256; doubling <= 16384; doubling *= 2)
    for (size_t step = 1; step <= 8; step++) {
      size_t bytes = doubling + step * doubling / 8, room = (bytes <= 1024 ? MiB : MiB / 2) * 95 / 100;
      for (size_t i = 0; i < room / bytes; i++) memset(blocks[count++] = malloc(bytes), 1, bytes);
    }
  for (unsigned i = 0; i < count; i++) free(blocks[i]);
  CHECK(residentMiB() > before + 16, "depots took nothing: %ld MiB, %ld before", residentMiB(), before);
  for (unsigned tries = 0; tries < 400 && residentMiB() > before + 2; tries++) rest(100);
  CHECK(residentMiB() <= before + 2, "depots: %ld MiB resident, %ld before", residentMiB(), before);
}

static int threads(void) {
  DIR *folder = opendir("/proc/self/task");
  CHECK(folder, "/proc/self/task: %s", strerror(errno));
  int count = -2;
  while (readdir(folder)) count++;
  closedir(folder);
  return count;
}

static void expectThread(const char *what) {
  int seen = 0;
  for (unsigned tries = 0; tries < 1000; tries++) {
    if ((seen = threads()) == 2) return;
    growAndFree(24);
    rest(20);
  }
  CHECK(seen == 2, "%s: there are %d threads", what, seen);
}

/// The program's descriptors are its own: none is taken by the thread, and none kept open.
static void descriptors(void) {
  int ends[2];
  CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
  expectThread("descriptors");
  int lowest = open("/dev/null", O_RDONLY);
  close(lowest);
  unsigned long others = 0;
  // The thread looks twenty times a second, and would end for want of work.
  for (unsigned i = 0; i < 500000; i++) {
    int file = open("/dev/null", O_RDONLY);
    if (file != lowest) others++;
    close(file);
    if (i % 50000 == 0) expectThread("descriptors, again");
  }
  CHECK(others == 0, "open gave another than the lowest descriptor %lu times", others);
  expectThread("descriptors, at the end");
  close(ends[1]);
  struct pollfd end = {.fd = ends[0], .events = POLLIN};
  CHECK(poll(&end, 1, 40000) == 1 && end.revents & POLLHUP, "the pipe is still open somewhere");
}

/// Where there is no /proc it gives back all the same, but does not stay.
static void withoutProc(void) {
  if (getuid() != 0) skip("only root can change its root");
  int statm = open("/proc/self/statm", O_RDONLY), tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY);
  char text[128] = "", folder[] = "/tmp/stave-root-XXXXXX";
  long size = 0, before = 0, after = 0;
  CHECK(statm >= 0 && tasks >= 0 && mkdtemp(folder), "%s", strerror(errno));
  int self = open(folder, O_RDONLY | O_DIRECTORY);
  CHECK(rmdir(folder) == 0 && fchdir(self) == 0 && chroot(".") == 0, "chroot: %s", strerror(errno));
  CHECK(pread(statm, text, sizeof text - 1, 0) > 0 && sscanf(text, "%ld %ld", &size, &before) == 2, "statm");
  growAndFree(128);
  for (unsigned tries = 0; tries < 400; tries++) {
    rest(100);
    CHECK(pread(statm, text, sizeof text - 1, 0) > 0 && sscanf(text, "%ld %ld", &size, &after) == 2, "statm");
    if (after * sysconf(_SC_PAGESIZE) <= before * sysconf(_SC_PAGESIZE) + 2 * MiB) break;
  }
  CHECK((after - before) * sysconf(_SC_PAGESIZE) <= 2 * MiB, "%ld pages resident, %ld before", after, before);
  for (unsigned tries = 0; tries < 400; tries++) {
    rest(100);
    int count = -2;
    lseek(tasks, 0, SEEK_SET);
    DIR *list = fdopendir(dup(tasks));
    while (readdir(list)) count++;
    closedir(list);
    if (count == 1) return;
  }
  CHECK(!*role, "the thread stays");
}

static int otherThread(void) {
  DIR *folder = opendir("/proc/self/task");
  int thread = 0;
  for (struct dirent *entry; (entry = readdir(folder));)
    if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != getpid() && atoi(entry->d_name) != gettid()) thread = atoi(entry->d_name);
  closedir(folder);
  return thread;
}

/// Started by a pinned thread of real-time priority it runs as the process does.
static void *triggering(void *ignored) {
  (void)ignored;
  struct sched_param parameter = {.sched_priority = 1};
  cpu_set_t one, all, found;
  CHECK(sched_getaffinity(getpid(), sizeof all, &all) == 0, "affinity: %s", strerror(errno));
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0, "affinity: %s", strerror(errno));
  if (sched_setscheduler(0, SCHED_FIFO, &parameter) != 0) skip("no real-time priority is to be had");
  growAndFree(24);
  int thread = 0;
  for (unsigned tries = 0; tries < 1000; tries++) {
    rest(20);
    if ((thread = otherThread())) break;
    growAndFree(24);
  }
  CHECK(thread, "no thread came");
  // It arranges itself before it works.
  for (unsigned tries = 0; tries < 400; tries++) {
    if (sched_getscheduler(thread) == SCHED_OTHER && sched_getaffinity(thread, sizeof found, &found) == 0 && CPU_EQUAL(&found, &all)) break;
    rest(100);
  }
  CHECK(sched_getscheduler(thread) == SCHED_OTHER, "its policy is %d", sched_getscheduler(thread));
  CHECK(sched_getaffinity(thread, sizeof found, &found) == 0 && CPU_EQUAL(&found, &all), "it is bound to %d CPUs", CPU_COUNT(&found));
  return NULL;
}

static void scheduling(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, triggering, NULL) == 0, "pthread_create");
  pthread_join(thread, NULL);
}

/// What the child frees would start a thread that dies with the child; the parent must not take it for its own.
static void childOfVfork(void) {
  long before = residentMiB();
  for (unsigned round = 0; round < 3; round++) {
    pid_t child = vfork();
    if (child == 0) {
      growAndFree(64);
      _exit(0);
    }
    CHECK(child > 0, "vfork: %s", strerror(errno));
    expectSuccess(child, "a child of vfork that allocates");
  }
  growAndFree(128);
  expectGivenBack(before, "after a vfork");
}

/// The lines of a task's status that say what it may do.
static void rights(const char *path, char *into, size_t room) {
  char text[4096];
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t count = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (file >= 0) close(file);
  *into = 0;
  if (count <= 0) return;  // ended meanwhile
  text[count] = 0;
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    if (!strncmp(line, "Uid:", 4) || !strncmp(line, "Gid:", 4) || !strncmp(line, "Groups:", 7) || !strncmp(line, "Cap", 3)) {
      strncat(into, line, room - strlen(into) - 1);
      strncat(into, "\n", room - strlen(into) - 1);
    }
}

/// How many tasks there are; `differing`: those whose rights are not the first thread's.
static int tasks(int *differing) {
  char own[1024], other[1024], path[64];
  int count = 0;
  *differing = 0;
  snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)getpid());
  rights(path, own, sizeof own);
  DIR *folder = opendir("/proc/self/task");
  CHECK(folder, "/proc/self/task: %s", strerror(errno));
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/self/task/%.20s/status", entry->d_name);
    rights(path, other, sizeof other);
    if (!*other) continue;
    count++;
    if (strcmp(own, other)) *differing += 1;
  }
  closedir(folder);
  return count;
}

static void keepBusy(void) { growAndFree(24); }

static void becomeOther(const char *what, void (*change)(void)) {
  int differing = 0;
  for (unsigned tries = 0; tries < 1000 && tasks(&differing) < 2; tries++) {
    keepBusy();
    rest(20);
  }
  CHECK(tasks(&differing) == 2 && differing == 0, "%s: %d tasks before, %d differ", what, tasks(&differing), differing);
  change();
  for (unsigned tries = 0; tries < 1500; tries++) {
    keepBusy();
    rest(20);
    tasks(&differing);
    if (!differing) return;
  }
  CHECK(!differing, "%s: after half a minute a thread still has the old rights", what);
}

static void dropEffective(void) { CHECK(setresuid((uid_t)-1, 65534, (uid_t)-1) == 0, "setresuid: %s", strerror(errno)); }
static void regain(void) { CHECK(setresuid((uid_t)-1, 0, (uid_t)-1) == 0, "setresuid: %s", strerror(errno)); }
static void dropGroups(void) {
  gid_t group = 65534;
  CHECK(setgroups(1, &group) == 0, "setgroups: %s", strerror(errno));
}
static void dropAll(void) { CHECK(setresuid(65534, 65534, 65534) == 0, "setresuid: %s", strerror(errno)); }
static void dropCapabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  CHECK(syscall(SYS_capget, &header, data) == 0, "capget: %s", strerror(errno));
  data[0].effective &= ~(1u << CAP_NET_RAW), data[0].permitted &= ~(1u << CAP_NET_RAW);
  CHECK(syscall(SYS_capset, &header, data) == 0, "capset: %s", strerror(errno));
}

static void users(void) {
  if (getuid() != 0) skip("only root can become another user");
  becomeOther("capabilities", dropCapabilities);
  becomeOther("groups", dropGroups);
  becomeOther("the effective user", dropEffective);
  becomeOther("the effective user, back", regain);
  becomeOther("all users", dropAll);
}

static struct timespec start;
__attribute__((constructor)) static void noteStart(void) { clock_gettime(CLOCK_MONOTONIC, &start); }

/// A small program that leaves for a user namespace early in its life, as sandboxes do: it must be alone in its process.
static void leave(void) {
  fflush(NULL);
  struct timespec now;
  pid_t child = fork();
  if (child == 0) _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
  int status;
  CHECK(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
  if (status != 0) skip("user namespaces are not to be had here");
  void *small[8000];
  for (unsigned i = 0; i < 8000; i++) small[i] = malloc(probeSize(i % 700));
  for (unsigned i = 0; i < 8000; i++) free(small[i]);
  for (unsigned i = 0; i < 100; i++) free(hide(malloc(MiB * 3 / 2 + i)));
  int isAlone = unshare(CLONE_NEWUSER) == 0;
  clock_gettime(CLOCK_MONOTONIC, &now);
  // Early is the first second: a machine that takes longer has the thread to do with.
  if (!isAlone && (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 > 800) skip("the machine was too busy to leave early");
  CHECK(isAlone, "unshare: %s", strerror(errno));
}

static void run(const char *what) {
  char self[4096], text[24];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0, "/proc/self/exe: %s", strerror(errno));
  self[length] = 0;
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
  char *const arguments[] = {self, (char *)what, (char *)"--seed", text, (char *)"--expect-stave", NULL};
  pid_t child = fork();
  CHECK(child >= 0, "fork: %s", strerror(errno));
  if (child == 0) {
    setenv("STAVE_PERIOD", !strcmp(what, "depots") ? "1000" : "50", 1);
    execv(self, arguments);
    _exit(98);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
  CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77), "%s ended with wait status %#x", what, status);
}

static void *freeWithLessRights(void *unused) {
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs: %s", strerror(errno));
  long before = residentMiB();
  growAndFree(128);
  // Slow calls, so that another thread may start, but no more memory.
  for (unsigned tries = 0; tries < 400 && residentMiB() > before + 8; tries++) {
    for (unsigned i = 0; i < 2000; i++) free(malloc(100000));
    rest(100);
  }
  CHECK(residentMiB() <= before + 8, "a thread with less rights: %ld MiB resident, %ld before", residentMiB(), before);
  return unused;
}

/// The thread that frees is restricted, the process's first is not.
static void restricted(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, freeWithLessRights, NULL) == 0, "pthread_create");
  pthread_join(thread, NULL);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  alarm(*role ? 100 : 900);
  if (!expectStave) skip("only Stave has such a thread");
  if (!strcmp(role, "idle")) idle();
  else if (!strcmp(role, "vfork")) childOfVfork();
  else if (!strcmp(role, "users")) users();
  else if (!strcmp(role, "leave")) leave();
  else if (!strcmp(role, "depots")) depots();
  else if (!strcmp(role, "descriptors")) descriptors();
  else if (!strcmp(role, "without-proc")) withoutProc();
  else if (!strcmp(role, "scheduling")) scheduling();
  else if (!strcmp(role, "restricted")) restricted();
  else {
    static const char *const roles[] = {"idle", "depots", "descriptors", "without-proc", "scheduling", "restricted", "vfork", "users", "leave"};
    for (unsigned i = 0; i < sizeof roles / sizeof *roles; i++) run(roles[i]);
  }
  return 0;
}
