// SPDX-License-Identifier: BSD-2-Clause
//
// The restartable sections under everything at once, for a while. Several threads per CPU pop, push, fill and flush two
// zones' cells (single items, and batches of thousands so that sections last long), hop between CPUs, are moved by others,
// and take a timer signal every 50 to 200 µs whose handler pops and pushes too; a drainer freezes CPUs as
// CPUCache.withExclusiveCells does, empties and refills their cells, and changes capacities.
//
// Every item has one word with its holder: 0 while it lies in a cell. Taking an item exchanges 0 for the holder, giving it
// exchanges the holder for 0: an item that comes out twice, or out of nowhere, is noticed at that operation. At the end
// every item must be in one place, the words must have counted exactly the pops that returned an item, and
// fill + pops + moved exactly the pushes that succeeded.
//
// Arguments: [seconds, default 3] [seed]. Exit status 0, 1 for a failure, 77 where this cannot be tried.

#include "cells.h"

#include <sys/mman.h>
#include <time.h>

enum {
  zones = 2,
  mostCPUs = 16,
  mostThreads = 3 * mostCPUs,
  cellArray = 4,
  heldRoom = 8192,  // of a thread; handlers hold up to 16
  handlerRoom = 16,
};
static const unsigned zoneCell[zones] = {2, 3}, roomOf[zones] = {64, 16384}, batchOf[zones] = {24, 4096}, firstItem[zones + 1] = {0, 4000, 44000};
#define ITEMS 44000

static struct stave_cell cells[mostCPUs][cellArray] __attribute__((aligned(64)));
static int cpus[mostCPUs], cpuCount, threadCount;
static _Atomic uint32_t owner[ITEMS];
static _Atomic int stopping, readyThreads;
static unsigned long frozen, drained, hops, signalsInside;

/// What one party holds and has done: a thread, its handler, or the drainer.
typedef struct {
  uint32_t name;
  unsigned count[zones];
  uintptr_t *held[zones];
  uint64_t pops[zones], pushes[zones], refused, batches;
  uint64_t random;
} Holder;

typedef struct {
  pthread_t thread;
  _Atomic pid_t id;
  Holder self, handler;
  uint64_t signals, inside;
} Worker;

static Worker workers[mostThreads];
static Holder drainer;
static __thread Worker *worker __attribute__((tls_model("initial-exec")));

__attribute__((noreturn, format(printf, 1, 2))) static void failed(const char *format, ...) {
  char text[300];
  int used = snprintf(text, sizeof text, "FAILED: ");
  va_list arguments;
  va_start(arguments, format);
  used += vsnprintf(text + used, sizeof text - (size_t)used - 1, format, arguments);
  va_end(arguments);
  if (used > (int)sizeof text - 2) used = (int)sizeof text - 2;
  text[used++] = '\n';
  if (write(1, text, (size_t)used) < 0) _exit(1);
  _exit(1);
}

static uint64_t next(Holder *who) {
  who->random ^= who->random << 13, who->random ^= who->random >> 7, who->random ^= who->random << 17;
  return who->random;
}
static unsigned below(Holder *who, unsigned limit) { return (unsigned)((next(who) >> 20) % limit); }

// MARK: - Owning

static void take(Holder *who, int zone, uintptr_t item, const char *how) {
  long index = itemIndex(item, ITEMS);
  if (index < (long)firstItem[zone] || index >= (long)firstItem[zone + 1]) failed("%s by %u: %#lx is no item of zone %d", how, who->name, (long)item, zone);
  uint32_t was = 0;
  if (!__atomic_compare_exchange_n((uint32_t *)&owner[index], &was, who->name, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    failed("%s by %u: item %ld came out, but %u holds it", how, who->name, index, was);
}

static void give(Holder *who, uintptr_t item) {
  long index = itemIndex(item, ITEMS);
  uint32_t was = who->name;
  if (!__atomic_compare_exchange_n((uint32_t *)&owner[index], &was, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    failed("%u holds item %ld, whose holder is %u", who->name, index, was);
}

// MARK: - The four operations, verified

static uint64_t offsetOf(int zone) { return zoneCell[zone] * sizeof(struct stave_cell); }

static bool pop(Holder *who, int zone) {
  uintptr_t item = (uintptr_t)stave_pop(offsetOf(zone));
  if (!item) return false;
  take(who, zone, item, "pop");
  who->held[zone][who->count[zone]++] = item;
  who->pops[zone]++;
  return true;
}

static bool push(Holder *who, int zone) {
  uintptr_t item = who->held[zone][who->count[zone] - 1];
  give(who, item);
  switch (stave_push(offsetOf(zone), (void *)item)) {
  case STAVE_PUSHED:
    who->count[zone]--;
    who->pushes[zone]++;
    return true;
  case STAVE_PUSH_AGAIN: failed("push by %u: item %ld lies on top already", who->name, itemIndex(item, ITEMS));
  default:
    take(who, zone, item, "refused push");
    who->refused++;
    return false;
  }
}

static void fill(Holder *who, int zone, unsigned count) {
  if (count > who->count[zone]) count = who->count[zone];
  uintptr_t *from = who->held[zone] + who->count[zone] - count;
  for (unsigned i = 0; i < count; i++) give(who, from[i]);
  struct stave_cell *into = NULL;
  unsigned filled = (unsigned)stave_fill(offsetOf(zone), from, count, &into);
  if (filled > count) failed("fill by %u took %u items of %u", who->name, filled, count);
  if (filled) stave_add(&into->moved, -(int64_t)filled);
  for (unsigned i = filled; i < count; i++) take(who, zone, from[i], "refused fill");
  memmove(from, from + filled, (count - filled) * sizeof *from);
  who->count[zone] -= filled;
  who->batches += filled != 0;
}

static void flush(Holder *who, int zone, unsigned count, unsigned room) {
  if (count > room - who->count[zone]) count = room - who->count[zone];
  uintptr_t *to = who->held[zone] + who->count[zone];
  struct stave_cell *outOf = NULL;
  unsigned flushed = (unsigned)stave_flush(offsetOf(zone), to, count, &outOf);
  if (flushed > count) failed("flush by %u gave %u items, not %u", who->name, flushed, count);
  if (flushed) stave_add(&outOf->moved, (int64_t)flushed);
  for (unsigned i = 0; i < flushed; i++) take(who, zone, to[i], "flush");
  who->count[zone] += flushed;
  who->batches += flushed != 0;
}

static void anything(Holder *who, unsigned room, bool small) {
  int zone = below(who, small ? 8 : 64) == 0;
  unsigned what = below(who, 32), batch = small ? 4 : batchOf[zone];
  if (what < 14) {
    if (who->count[zone] < room) pop(who, zone);
  } else if (what < 28) {
    if (who->count[zone]) push(who, zone);
  } else if (what < 30) {
    fill(who, zone, below(who, batch) + 1);
  } else {
    flush(who, zone, below(who, batch) + 1, room);
  }
}

// MARK: - Threads

/// The descriptors that the compiler laid down; the linker names the ends of the section.
struct descriptor { uint32_t version, flags; uint64_t start, length, abort; };
extern const struct descriptor __start___rseq_cs[], __stop___rseq_cs[];

static void onTimer(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  Worker *self = worker;
  if (!self) return;
  int saved = errno;
  self->signals++;
  uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
  for (const struct descriptor *one = __start___rseq_cs; one < __stop___rseq_cs; one++) {
    if (at - one->start < one->length) failed("a signal found the thread inside a section, at %#lx", (long)at);
    if (at == one->abort) self->inside++;
  }
  for (unsigned count = below(&self->handler, 6); count; count--) anything(&self->handler, handlerRoom, true);
  errno = saved;
}

static timer_t startTimer(long nanoseconds) {
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR2;
  event._sigev_un._tid = (pid_t)stave_gettid();
  struct itimerspec period = {{0, nanoseconds}, {0, nanoseconds}};
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) failed("timer_create: %s", strerror(errno));
  if (timer_settime(timer, 0, &period, NULL) != 0) failed("timer_settime: %s", strerror(errno));
  return timer;
}

static void *work(void *argument) {
  Worker *self = argument;
  worker = self;
  self->id = (pid_t)stave_gettid();
  readyThreads++;
  timer_t timer = startTimer(50000 + below(&self->self, 150000));
  while (!stopping) {
    for (int i = 0; i < 64; i++) anything(&self->self, heldRoom, false);
    if (below(&self->self, 4) == 0) moveThread(0, cpus[below(&self->self, (unsigned)cpuCount)]);
  }
  timer_delete(timer);
  sigset_t set;
  sigfillset(&set);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  self->id = 0;
  return NULL;
}

/// Empties some cells of a frozen CPU, refills them with what it holds, and lets the capacities be others.
static void drain(int index) {
  freeze(cpus[index]);
  for (int zone = 0; zone < zones; zone++) {
    struct stave_cell *cell = &cells[index][zoneCell[zone]];
    uint64_t word = __atomic_load_n(&cell->word, __ATOMIC_RELAXED);
    unsigned held = word & 0xffff, room = zone ? 40000 : 4000;
    if (held > roomOf[zone]) failed("a cell says that it holds %u items", held);
    unsigned taken = below(&drainer, 4) ? held : held / 2;
    if (taken > room - drainer.count[zone]) taken = room - drainer.count[zone];
    for (unsigned i = 0; i < taken; i++) {
      uintptr_t item = cell->slots[held - taken + i];
      take(&drainer, zone, item, "drain");
      drainer.held[zone][drainer.count[zone]++] = item;
    }
    cell->word -= taken;
    stave_add(&cell->moved, taken);
    drained += taken;
    cell->capacity = 1 + below(&drainer, roomOf[zone]);
    if (cell->capacity < (cell->word & 0xffff)) cell->capacity = (uint32_t)(cell->word & 0xffff);
    while (below(&drainer, 100) && drainer.count[zone] && (cell->word & 0xffff) < cell->capacity) {
      uintptr_t item = drainer.held[zone][--drainer.count[zone]];
      give(&drainer, item);
      cell->slots[cell->word & 0xffff] = item;
      cell->word++;
      stave_add(&cell->moved, -1);
    }
    // Whoever were still at work here would change it.
    uint64_t left = (word & ~0xffffull) | (cell->word & 0xffff);
    if (below(&drainer, 8) == 0) stave_yield();
    if (__atomic_load_n(&cell->word, __ATOMIC_RELAXED) != left) failed("a frozen CPU's cell was used");
    if (cell->slots[-1]) failed("the word in front of the slots was written over");
  }
  thaw(cpus[index], cells[index]);
  frozen++;
}

static void disturbUntil(int64_t end) {
  while (stave_nanoseconds() < end) {
    drain((int)below(&drainer, (unsigned)cpuCount));
    // What was drained goes back into circulation through this thread's own CPU.
    for (int zone = 0; zone < zones; zone++)
      if (drainer.count[zone] > (firstItem[zone + 1] - firstItem[zone]) / 4) fill(&drainer, zone, 1 + below(&drainer, batchOf[zone]));
    pid_t thread = workers[below(&drainer, (unsigned)threadCount)].id;
    if (thread && moveThread(thread, cpus[below(&drainer, (unsigned)cpuCount)]) == 0) hops++;
    moveThread(0, cpus[below(&drainer, (unsigned)cpuCount)]);
    struct timespec pause = {0, (long)below(&drainer, 120000)};
    if (below(&drainer, 3) == 0) nanosleep(&pause, NULL);
  }
}

// MARK: - Beginning and end

static void *memory(size_t bytes) {
  void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) skip("mmap: %s", strerror(errno));
  return start;
}

static void prepareHolder(Holder *who, uint32_t name, uint64_t seed, const unsigned room[zones]) {
  who->name = name;
  who->random = (seed * 1000 + name) * 0x9e3779b97f4a7c15 | 1;
  for (int zone = 0; zone < zones; zone++) who->held[zone] = memory(room[zone] * sizeof(uintptr_t));
}

static void countHolder(const Holder *who, uint64_t *pops, uint64_t *pushes, uint64_t *operations, uint8_t *places) {
  for (int zone = 0; zone < zones; zone++) {
    pops[zone] += who->pops[zone], pushes[zone] += who->pushes[zone];
    *operations += who->pops[zone] + who->pushes[zone];
    for (unsigned i = 0; i < who->count[zone]; i++) {
      long index = itemIndex(who->held[zone][i], ITEMS);
      if (index < 0 || owner[index] != who->name) failed("at the end %u holds item %ld, whose holder is another", who->name, index);
      places[index]++;
    }
  }
  *operations += who->batches;
}

/// Everything counted, with all threads gone. The number of operations.
static uint64_t settle(void) {
  static uint8_t places[ITEMS];
  uint64_t pops[zones] = {0}, pushes[zones] = {0}, operations = 0;
  for (int i = 0; i < threadCount; i++) {
    countHolder(&workers[i].self, pops, pushes, &operations, places);
    countHolder(&workers[i].handler, pops, pushes, &operations, places);
  }
  countHolder(&drainer, pops, pushes, &operations, places);
  for (int zone = 0; zone < zones; zone++) {
    uint64_t counted = 0, frees = 0;
    for (int i = 0; i < cpuCount; i++) {
      struct stave_cell *cell = &cells[i][zoneCell[zone]];
      unsigned held = cell->word & 0xffff;
      counted += cell->word >> 16;
      frees += held + (cell->word >> 16) + (uint64_t)cell->moved;
      for (unsigned j = 0; j < held; j++) {
        long index = itemIndex(cell->slots[j], ITEMS);
        if (index < 0 || owner[index] != 0) failed("at the end a cell holds item %ld, and so does somebody", index);
        places[index]++;
      }
    }
    if (counted != pops[zone]) failed("zone %d: the words counted %lu pops, the threads %lu", zone, counted, pops[zone]);
    if (frees != pushes[zone]) failed("zone %d: fill + pops + moved is %lu, and %lu items were pushed", zone, frees, pushes[zone]);
    printf("zone %d: %lu pops and %lu pushes, counted exactly\n", zone, pops[zone], pushes[zone]);
  }
  for (long index = 0; index < ITEMS; index++)
    if (places[index] != 1) failed("item %ld is in %u places", index, places[index]);
  return operations;
}

static void onAlarm(int signal) {
  (void)signal;
  failed("no end");
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? atof(arguments[1]) : 3;
  uint64_t seed = count > 2 ? strtoull(arguments[2], NULL, 0) : (uint64_t)stave_nanoseconds();
  cpuCount = usableCPUs(cpus, mostCPUs);
  if (cpuCount < 2) skip("hopping needs two CPUs");
  startSections();
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGALRM, onAlarm);
  alarm((unsigned)seconds + 60);
  printf("seed %lu, %d CPUs, %.1f s\n", seed, cpuCount, seconds);

  for (int i = 0; i < cpuCount; i++) {
    for (int zone = 0; zone < zones; zone++) {
      uintptr_t *slots = memory((roomOf[zone] + 1) * sizeof *slots);
      cells[i][zoneCell[zone]] = (struct stave_cell){0, 0, roomOf[zone], RECIPROCAL, slots + 1};
    }
    stave_cpu_table()[cpus[i]] = cells[i];
  }
  // All items are the drainer's at first.
  prepareHolder(&drainer, 1, seed, (const unsigned[]){ITEMS, ITEMS});
  for (int zone = 0; zone < zones; zone++)
    for (unsigned index = firstItem[zone]; index < firstItem[zone + 1]; index++) {
      owner[index] = drainer.name;
      drainer.held[zone][drainer.count[zone]++] = itemNumber(index);
    }

  struct sigaction action = {.sa_sigaction = onTimer, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGUSR2, &action, NULL);
  threadCount = 3 * cpuCount;
  for (int i = 0; i < threadCount; i++) {
    Worker *one = &workers[i];
    prepareHolder(&one->self, 100 + (unsigned)i, seed, (const unsigned[]){heldRoom, heldRoom});
    prepareHolder(&one->handler, 1000 + (unsigned)i, seed, (const unsigned[]){handlerRoom, handlerRoom});
    int error = pthread_create(&one->thread, NULL, work, one);
    if (error) failed("pthread_create: %s", strerror(error));
  }
  while (readyThreads < threadCount) stave_yield();
  disturbUntil(stave_nanoseconds() + (int64_t)(seconds * 1e9));
  stopping = 1;
  uint64_t signals = 0, refused = 0;
  for (int i = 0; i < threadCount; i++) {
    pthread_join(workers[i].thread, NULL);
    signals += workers[i].signals, signalsInside += workers[i].inside, refused += workers[i].self.refused;
  }
  uint64_t operations = settle();
  printf("passed: %d threads, %lu operations, %lu refused pushes, %lu signals (%lu inside a section), %lu moves from outside, %lu freezes, %lu items drained\n",
         threadCount, operations, refused, signals, signalsInside, hops, frozen, drained);
  return 0;
}
