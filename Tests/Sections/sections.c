// SPDX-License-Identifier: BSD-2-Clause
//
// The restartable sections, interrupted at every instruction. A traced process takes one operation at a time; the tracer
// stops it at an instruction, disturbs it (signal, migration, other threads on the same cell, emptying from outside), lets
// it go on, and compares all memory with a model (model.h). Every instruction from before the arming store to after the
// commit, each path through each section, every disturbance.
//
// What Linux does (seen on 6.18): a ptrace stop is a context switch, so a thread stopped inside a section goes on at the
// section's abort handler, never at the next instruction. Plain single-stepping therefore circles for ever between the
// arming store and the first instruction behind it; the first line of output says what this kernel did. Hence two ways in:
//
//   breakpoint   a debug register stops the thread at the instruction, with the descriptor armed by the section itself
//   step         single steps with the rseq pointer set to zero at each stop, so that nothing restarts; at the instruction
//                the pointer gets back what the section had stored. Reaches also the middle of a `rep movsq`, and needs no
//                debug registers; it is how the instructions and the moment of the commit are found in the first place
//
// Expected: inside, exactly the abort handler is next (counted by a second debug register, and seen by the signal handler as
// the interrupted address); nothing of the operation is visible; it is then done once, on the CPU where the thread now is.
// From the boundary behind the commit on it has been done, on the CPU where it was, and nothing restarts.
//
// Arguments: [rounds]. Exit status 0, 1 for a failure, 77 where this cannot be tried.

#include "model.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

// MARK: - The traced process

// Where the subject waits: the tracer sees the trap.
__asm__(".text\n.globl subjectRest, subjectRested\nsubjectRest:\n\tint3\nsubjectRested:\n\tret\n");
extern void subjectRest(void);
extern const char subjectRested[];

static void onSignal(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  world->inHandler = 1;
  world->interrupted = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
  world->handlerCPU = stave_rseq_cpu();
  world->handled++;
  for (const Step *step = world->handlerSteps; step->kind != END; step++) really(&world->holders[handler], *step);
  world->inHandler = 0;
}

static void *help(void *unused) {
  (void)unused;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  for (uint32_t seen = 0;; seen++) {
    while (__atomic_load_n(&world->asked, __ATOMIC_ACQUIRE) == seen) syscall(SYS_futex, &world->asked, 0, seen, NULL, NULL, 0);
    for (const Step *step = world->helperSteps; step->kind != END; step++) {
      if (step->kind != EMPTY && step->kind != REFILL) moveThread(0, world->cpu[number(step->where)]);
      really(&world->holders[helper], *step);
    }
    __atomic_store_n(&world->done, seen + 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &world->done, 1, 1, NULL, NULL, 0);
  }
  return NULL;
}

__attribute__((noreturn)) static void beSubject(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  startSections();
  for (int i = 0; i < 2; i++) stave_cpu_table()[world->cpu[i]] = world->cells[i];
  struct sigaction action = {.sa_sigaction = onSignal, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, help, NULL) != 0) _exit(3);
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(skipped);
  for (;;) {
    subjectRest();
    really(&world->holders[subject], world->request);
  }
}

// MARK: - Tracing

static pid_t tracee;
static uintptr_t areaAddress;
static bool hasBreakpoints;
static char trying[200];
static unsigned long failures, trials, restarts, signalsTaken, migrations;

__attribute__((noreturn, format(printf, 1, 2))) static void giveUp(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("FAILED: %s: ", trying);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
  fflush(stdout);
  if (tracee > 0) kill(tracee, SIGKILL);
  exit(1);
}

__attribute__((format(printf, 1, 2))) static void failed(const char *format, ...) {
  if (++failures > 20) return;
  va_list arguments;
  va_start(arguments, format);
  printf("FAILED: %s: ", trying);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
}

static void onAlarm(int signal) {
  (void)signal;
  if (tracee > 0) kill(tracee, SIGKILL);
  if (write(1, "FAILED: no end: ", 16) < 0 || write(1, trying, strlen(trying)) < 0 || write(1, "\n", 1) < 0) _exit(1);
  _exit(1);
}

static uintptr_t peekUser(size_t offset) {
  errno = 0;
  long value = ptrace(PTRACE_PEEKUSER, tracee, (void *)offset, NULL);
  if (errno) giveUp("PTRACE_PEEKUSER: %s", strerror(errno));
  return (uintptr_t)value;
}
static bool pokeUser(size_t offset, uintptr_t value) { return ptrace(PTRACE_POKEUSER, tracee, (void *)offset, (void *)value) == 0; }
static uintptr_t here(void) { return peekUser(offsetof(struct user, regs.rip)); }

static uintptr_t peek(uintptr_t address) {
  errno = 0;
  long value = ptrace(PTRACE_PEEKDATA, tracee, (void *)address, NULL);
  if (errno) giveUp("PTRACE_PEEKDATA: %s", strerror(errno));
  return (uintptr_t)value;
}
static uintptr_t descriptor(void) { return peek(areaAddress + 8); }
static void setDescriptor(uintptr_t value) {
  if (ptrace(PTRACE_POKEDATA, tracee, (void *)(areaAddress + 8), (void *)value) != 0) giveUp("PTRACE_POKEDATA: %s", strerror(errno));
}

/// Debug registers 0 and 1 stop at these addresses; 0 for none.
static uintptr_t inForce[2];
static bool breakAt(uintptr_t first, uintptr_t second) {
  if (first == inForce[0] && second == inForce[1]) return true;
  inForce[0] = first, inForce[1] = second;
  size_t base = offsetof(struct user, u_debugreg);
  bool good = pokeUser(base + 7 * 8, 0);
  if (first) good = good && pokeUser(base, first);
  if (second) good = good && pokeUser(base + 8, second);
  return (first || second ? pokeUser(base + 7 * 8, (first ? 1u : 0u) | (second ? 4u : 0u)) : true) && good;
}

/// Goes on, with a signal if not 0, until the next trap; where that is.
static uintptr_t go(enum __ptrace_request how, int signal) {
  int status;
  // The resume flag, which gets a thread past the breakpoint where it stands, would hide one on the abort handler.
  uintptr_t flags = peekUser(offsetof(struct user, regs.eflags)), at = here();
  if (flags & 0x10000 && at != inForce[0] && at != inForce[1]) pokeUser(offsetof(struct user, regs.eflags), flags & ~0x10000ul);
  if (ptrace(how, tracee, NULL, (void *)(uintptr_t)signal) != 0) giveUp("ptrace: %s", strerror(errno));
  if (waitpid(tracee, &status, __WALL) != tracee) giveUp("waitpid: %s", strerror(errno));
  if (!WIFSTOPPED(status)) giveUp("the traced process ended (status %#x)", status);
  if (WSTOPSIG(status) != SIGTRAP) giveUp("signal %d at %#lx", WSTOPSIG(status), here());
  return here();
}

static void move(int where) {
  int error = moveThread(tracee, world->cpu[number(where)]);
  if (error) giveUp("sched_setaffinity of the traced process: %s", strerror(error));
}

static void askHelper(const Step *steps, unsigned room) {
  memset(world->helperSteps, 0, sizeof world->helperSteps);
  memcpy(world->helperSteps, steps, room * sizeof *steps);
  if (steps->kind == END) return;
  uint32_t wanted = world->asked + 1;
  __atomic_store_n(&world->asked, wanted, __ATOMIC_RELEASE);
  syscall(SYS_futex, &world->asked, 1, 1, NULL, NULL, 0);
  for (uint32_t done; (done = __atomic_load_n(&world->done, __ATOMIC_ACQUIRE)) != wanted;)
    syscall(SYS_futex, &world->done, 0, done, NULL, NULL, 0);
}

// MARK: - The paths

typedef struct {
  const char *name;
  Step request;
  unsigned fill[2];
  bool commits, topStays;  // `topStays`: only disturbances that leave the item on top where it is
} Path;

static const Path paths[] = {
  {"pop", {POP, 0, 0}, {6, 3}, true, false},
  {"pop, the last", {POP, 0, 0}, {1, 4}, true, false},
  {"pop, none", {POP, 0, 0}, {0, 3}, false, false},
  {"push", {PUSH, 0, 0}, {6, 3}, true, false},
  {"push, the first", {PUSH, 0, 0}, {0, 11}, true, false},
  {"push, full", {PUSH, 0, 0}, {cellRoom, 3}, false, false},
  {"push, foreign", {PUSH_FOREIGN, 0, 0}, {6, 3}, false, false},
  {"push, again", {PUSH_AGAIN, 0, 0}, {6, 3}, false, true},
  {"fill", {FILL, 0, 5}, {4, 3}, true, false},
  {"fill, in part", {FILL, 0, 5}, {10, 3}, true, false},
  {"fill, full", {FILL, 0, 5}, {cellRoom, 3}, false, false},
  {"flush", {FLUSH, 0, 4}, {6, 3}, true, false},
  {"flush, fewer", {FLUSH, 0, 4}, {3, 6}, true, false},
  {"flush, none", {FLUSH, 0, 4}, {0, 6}, false, false},
};
enum { pathCount = sizeof paths / sizeof paths[0] };

typedef struct {
  const char *name;
  bool keepsTop, twice, signal, migrate;
  Step helper[8], handler[6], after[3];
} Disturbance;

static const Disturbance disturbances[] = {
  {.name = "stop", .keepsTop = true},
  {.name = "twice", .keepsTop = true, .twice = true},
  {.name = "sig", .keepsTop = true, .signal = true},
  {.name = "sig=", .keepsTop = true, .signal = true, .handler = {{POP, 0, 0}, {PUSH, 0, 0}}},
  {.name = "sig+", .signal = true, .handler = {{POP, 0, 0}, {POP, 0, 0}, {FILL, 0, 2}, {FLUSH, 0, 3}, {PUSH, 0, 0}}},
  {.name = "use", .helper = {{POP, 0, 0}, {PUSH, 0, 0}, {FLUSH, 0, 2}, {FILL, 0, 2}, {POP, 0, 0}}},
  {.name = "move", .migrate = true},
  {.name = "move+", .migrate = true, .helper = {{POP, 0, 0}, {FLUSH, 0, 1}, {PUSH, 0, 0}, {POP, 1, 0}, {FILL, 1, 1}, {POP, 1, 0}}},
  {.name = "both", .signal = true, .migrate = true, .helper = {{FLUSH, 0, 3}, {PUSH, 0, 0}}, .handler = {{POP, 0, 0}, {POP, 0, 0}, {PUSH, 0, 0}}},
  {.name = "back", .signal = true, .migrate = true, .helper = {{POP, 0, 0}}, .handler = {{POP, 0, 0}, {HOP, 0, 0}, {PUSH, 0, 0}}},
  {.name = "empty", .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {THAW, 0, 0}}},
  {.name = "swap", .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {REFILL, 0, 4}, {THAW, 0, 0}}},
  {.name = "cold", .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}}, .after = {{THAW, 0, 0}}},
  {.name = "cold+", .signal = true, .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {REFILL, 0, 2}}, .handler = {{POP, 0, 0}, {PUSH, 0, 0}, {FILL, 0, 2}}, .after = {{THAW, 0, 0}}},
  {.name = "all", .signal = true, .migrate = true, .helper = {{FREEZE, 0, 0}, {EMPTY, 0, 0}, {FREEZE, 1, 0}, {REFILL, 1, 5}, {THAW, 1, 0}, {THAW, 0, 0}}, .handler = {{POP, 0, 0}, {POP, 0, 0}}},
};
enum { disturbanceCount = sizeof disturbances / sizeof disturbances[0] };

static uintptr_t entryOf(const Path *path) {
  switch (path->request.kind) {
  case POP: return (uintptr_t)reallyPop;
  case FILL: return (uintptr_t)reallyFill;
  case FLUSH: return (uintptr_t)reallyFlush;
  default: return (uintptr_t)reallyPush;
  }
}

/// From rest, everything in its first state, the subject on its first CPU, to the operation's first instruction.
static void enter(const Path *path, Model *model) {
  begin(model, path->fill);
  world->request = path->request;
  memset(world->handlerSteps, 0, sizeof world->handlerSteps);
  world->handled = 0;
  move(0);
  uintptr_t at, steps = 0;
  if (hasBreakpoints) {
    breakAt(entryOf(path), 0);
    at = go(PTRACE_CONT, 0);
    breakAt(0, 0);
  } else {
    do at = go(PTRACE_SINGLESTEP, 0); while (at != entryOf(path) && ++steps < 1000);
  }
  if (at != entryOf(path)) giveUp("stopped at %#lx before the operation began", at);
  setDescriptor(0);
}

// MARK: - What the instructions are

enum { boundaryRoom = 400 };
/// The stops of one undisturbed operation, `armed` and `decided` being the first inside and the first behind the section.
typedef struct {
  uintptr_t start, end, abort, armedWith;
  uintptr_t at[boundaryRoom];
  int count, first, armed, decided, last;
} Trail;

static void walk(const Path *path, Trail *trail) {
  Model model;
  snprintf(trying, sizeof trying, "%s, undisturbed", path->name);
  memset(trail, 0, sizeof *trail);
  trail->armed = trail->decided = -1;
  enter(path, &model);
  uintptr_t back = peek(peekUser(offsetof(struct user, regs.rsp))), at = here();
  uint64_t word = realCell(0)->word;
  int committed = -1;
  while (at != back) {
    if (trail->count == boundaryRoom) giveUp("more than %d instructions", boundaryRoom);
    trail->at[trail->count] = at;
    if (trail->armed < 0 && descriptor() != 0) {
      struct { uint32_t version, flags; uint64_t start, length, abort; } section;
      trail->armedWith = descriptor();
      uintptr_t *words = (uintptr_t *)&section;
      for (unsigned i = 0; i < sizeof section / 8; i++) words[i] = peek(trail->armedWith + i * 8);
      trail->start = section.start, trail->end = section.start + section.length, trail->abort = section.abort;
      trail->armed = trail->count;
      if (at != trail->start) failed("the section does not begin behind the arming store");
      if ((uint32_t)peek(trail->abort - 4) != 0x53053053) failed("no signature before the abort handler");
    }
    if (trail->armed >= 0 && trail->decided < 0 && (at < trail->start || at >= trail->end)) trail->decided = trail->count;
    if (descriptor()) setDescriptor(0);
    if (realCell(0)->word != word) {
      if (committed >= 0) failed("the word changed twice");
      committed = trail->count;
      word = realCell(0)->word;
    }
    if (committed < 0 && memcmp(realCell(0)->slots, model.slots[0], model.fill[0] * sizeof(uintptr_t))) failed("items moved before the commit");
    trail->count++;
    at = go(PTRACE_SINGLESTEP, 0);
  }
  if (trail->armed < 0 || trail->decided < 0) failed("the section was never armed");
  else if (path->commits && (committed != trail->decided || trail->at[committed] != trail->end))
    failed("the commit is not the last instruction: the word changed at step %d, the section ends at %d", committed, trail->decided);
  else if (!path->commits && committed >= 0) failed("the word changed, though nothing was to be done");
  trail->first = trail->armed > 4 ? trail->armed - 4 : 0;
  trail->last = trail->decided + 4 < trail->count ? trail->decided + 4 : trail->count - 1;
  go(PTRACE_CONT, 0);
  uint64_t result = supposedly(&model, &model.holders[subject], path->request, 0);
  const char *wrong = differs(&model);
  if (wrong || world->holders[subject].result != result) failed("%s", wrong ? wrong : "wrong answer");
}

/// Plain steps, the descriptor left alone: says whether they ever get through.
static void observe(void) {
  const Path *path = &paths[0];
  Model model;
  Trail trail;
  walk(path, &trail);
  snprintf(trying, sizeof trying, "plain steps");
  enter(path, &model);
  uintptr_t back = peek(peekUser(offsetof(struct user, regs.rsp))), at = here();
  int inside = 0, went = 0, steps = 0;
  for (; at != back && steps < 400; steps++) {
    bool was = at >= trail.start && at < trail.end;
    at = go(PTRACE_SINGLESTEP, 0);
    inside += was;
    went += was && (at < trail.start || at >= trail.end);
  }
  printf("Plain single steps: %d stops inside the section, %d went on at its abort handler; in %d steps the operation was %s.\n", inside,
         went, steps, at == back ? "done" : "never done");
  go(PTRACE_CONT, 0);
  supposedly(&model, &model.holders[subject], path->request, 0);
  const char *wrong = differs(&model);
  if (wrong) failed("%s", wrong);
}

// MARK: - One trial

typedef enum { byBreakpoint, bySteps, atAbort } Arrival;

/// Stops the thread at the boundary. False if it did not get there.
static bool arrive(const Trail *trail, int boundary, Arrival arrival) {
  uintptr_t target = trail->at[boundary], at = here(), stored = 0;
  if (arrival == bySteps) {
    for (int i = 0; i < boundary; i++) {
      at = go(PTRACE_SINGLESTEP, 0);
      if (descriptor()) stored = descriptor(), setDescriptor(0);
    }
    setDescriptor(stored);
  } else if (boundary > 0) {
    breakAt(target, 0);
    at = go(PTRACE_CONT, 0);
  }
  if (at == target && arrival == atAbort) {
    breakAt(0, trail->abort);
    at = go(PTRACE_CONT, 0);
    target = trail->abort;
  }
  if (at != target) failed("stopped at %#lx, not at %#lx", at, target);
  return at == target;
}

/// Goes on to rest, counting how often the section began again; if `again`, stops once more at `target`.
static int finish(const Trail *trail, uintptr_t target, bool again, int signal) {
  int aborts = 0;
  if (hasBreakpoints) breakAt(0, trail->abort);
  for (uintptr_t at = go(PTRACE_CONT, signal); at != (uintptr_t)subjectRested; at = go(PTRACE_CONT, 0)) {
    if (at == trail->abort) {
      if (!world->inHandler) aborts++;
      if (again) breakAt(target, trail->abort);
    } else if (again && at == target) {
      again = false;
      breakAt(0, trail->abort);
    } else {
      giveUp("stopped at %#lx and not at rest", at);
    }
  }
  if (hasBreakpoints) breakAt(0, 0);
  return aborts;
}

static bool attempt(const Path *path, const Trail *trail, int boundary, Arrival arrival, const Disturbance *what) {
  static const char *const ways[] = {"breakpoint", "steps", "abort handler"};
  uintptr_t target = trail->at[boundary];
  snprintf(trying, sizeof trying, "%s, step %d at section %+ld, by %s, '%s'", path->name, boundary, (long)(target - trail->start),
           ways[arrival], what->name);
  bool inside = boundary >= trail->armed && boundary < trail->decided, done = boundary >= trail->decided;
  bool again = what->twice && inside && arrival == byBreakpoint;
  unsigned long before = failures;
  Model model;
  enter(path, &model);
  trials++;
  if (!arrive(trail, boundary, arrival)) {
    finish(trail, 0, false, 0);
    return false;
  }

  // What is going to happen, by the model.
  int at = 0;
  uint64_t result = done ? supposedly(&model, &model.holders[subject], path->request, at) : 0;
  for (const Step *step = what->helper; step->kind != END; step++) supposedly(&model, &model.holders[helper], *step, step->where);
  if (what->migrate) at = 1;
  int handlerAt = at;
  for (const Step *step = what->handler; step->kind != END; step++) {
    if (step->kind == HOP) at = step->where;
    else supposedly(&model, &model.holders[handler], *step, at);
  }
  if (!done) result = supposedly(&model, &model.holders[subject], path->request, at);
  for (const Step *step = what->after; step->kind != END; step++) supposedly(&model, &model.holders[helper], *step, step->where);

  // And really.
  askHelper(what->helper, sizeof what->helper / sizeof(Step));
  if (what->migrate) move(1), migrations++;
  memcpy(world->handlerSteps, what->handler, sizeof what->handler);
  if (what->signal) signalsTaken++;
  int aborts = finish(trail, target, again, what->signal ? SIGUSR1 : 0);
  askHelper(what->after, sizeof what->after / sizeof(Step));
  restarts += (unsigned)aborts;

  const char *wrong = differs(&model);
  if (wrong) failed("%s", wrong);
  if (world->holders[subject].result != result)
    failed("the operation answered %#lx, not %#lx", (long)world->holders[subject].result, (long)result);
  int cpu = (int)peek(areaAddress + 4);
  if (cpu != world->cpu[number(at)]) failed("the thread is on CPU %d, not %d", cpu, world->cpu[number(at)]);
  // More restarts than expected are the scheduler's: another thread wanted the CPU. Behind the section there is none to restart.
  int expected = arrival == atAbort ? 0 : inside + again;
  if (hasBreakpoints && aborts < expected) failed("the section began again %d times, not %d", aborts, expected);
  if (hasBreakpoints && done && aborts) failed("restarted after the commit");
  if (world->handled != what->signal) failed("%d signals were handled", world->handled);
  if (what->signal && world->handlerCPU != world->cpu[number(handlerAt)]) failed("the handler ran on CPU %d", world->handlerCPU);
  uintptr_t goesOn = inside || arrival == atAbort ? trail->abort : target;
  if (what->signal && world->interrupted != goesOn) failed("the handler would return to %#lx, not %#lx", world->interrupted, goesOn);
  return failures == before;
}

// MARK: - The table of results

typedef struct {
  uintptr_t at;
  const char *what;
  unsigned good[disturbanceCount], bad[disturbanceCount];
} Row;

enum { sectionCount = 4, rowRoom = 200 };
static const char *const sectionNames[sectionCount] = {"pop", "push", "fill", "flush"};
static Row rows[sectionCount][rowRoom];
static int rowCount[sectionCount];
static uintptr_t sectionStart[sectionCount];

static int sectionOf(const Path *path) {
  StepKind kind = path->request.kind;
  return kind == POP ? 0 : kind == FILL ? 2 : kind == FLUSH ? 3 : 1;
}

static Row *rowFor(int section, uintptr_t at, const char *what) {
  for (int i = 0; i < rowCount[section]; i++)
    if (rows[section][i].at == at && !strcmp(rows[section][i].what, what)) return &rows[section][i];
  if (rowCount[section] == rowRoom) giveUp("too many instructions");
  Row *row = &rows[section][rowCount[section]++];
  row->at = at, row->what = what;
  return row;
}

static int byAddress(const void *left, const void *right) {
  const Row *a = left, *b = right;
  return a->at != b->at ? (a->at < b->at ? -1 : 1) : strcmp(a->what, b->what);
}

/// Trials that came out right, for each section, instruction and disturbance; those that did not behind a `!`.
static void printTables(void) {
  for (int section = 0; section < sectionCount; section++) {
    qsort(rows[section], (size_t)rowCount[section], sizeof(Row), byAddress);
    printf("\n%-16s", sectionNames[section]);
    for (int i = 0; i < disturbanceCount; i++) printf("%6s", disturbances[i].name);
    printf("\n");
    for (int r = 0; r < rowCount[section]; r++) {
      Row *row = &rows[section][r];
      if (strcmp(row->what, "restarting")) printf("%+5ld %-10s", (long)(row->at - sectionStart[section]), row->what);
      else printf("      %-10s", row->what);
      for (int i = 0; i < disturbanceCount; i++) {
        char text[16];
        if (row->bad[i]) snprintf(text, sizeof text, "%u!%u", row->good[i], row->bad[i]);
        else snprintf(text, sizeof text, "%u", row->good[i]);
        printf("%6s", text);
      }
      printf("\n");
    }
  }
}

static void tryEverything(const Path *path, const Trail *trail, int boundary, Arrival arrival, const char *what) {
  int section = sectionOf(path);
  Row *row = rowFor(section, arrival == atAbort ? trail->abort : trail->at[boundary], what);
  for (int i = 0; i < disturbanceCount; i++) {
    if (path->topStays && !disturbances[i].keepsTop) continue;
    world->swapped = trials & 1;
    if (attempt(path, trail, boundary, arrival, &disturbances[i])) row->good[i]++;
    else row->bad[i]++;
  }
}

static void tryPath(const Path *path) {
  Trail trail;
  walk(path, &trail);
  if (trail.armed < 0 || trail.decided < 0) return;
  sectionStart[sectionOf(path)] = trail.start;
  for (int boundary = trail.first; boundary <= trail.last; boundary++) {
    bool repeats = boundary > 0 && trail.at[boundary] == trail.at[boundary - 1];
    const char *what = boundary < trail.armed ? "before" : boundary >= trail.decided ? "behind" : repeats ? "in rep" : "inside";
    if (hasBreakpoints && !repeats) tryEverything(path, &trail, boundary, byBreakpoint, what);
    tryEverything(path, &trail, boundary, bySteps, what);
  }
  if (hasBreakpoints) tryEverything(path, &trail, trail.decided - 1, atAbort, "restarting");
}

// MARK: - Beginning

static void startTracee(void) {
  fflush(stdout);
  tracee = fork();
  if (tracee < 0) skip("fork: %s", strerror(errno));
  if (tracee == 0) beSubject();
  int status;
  if (waitpid(tracee, &status, __WALL) != tracee) giveUp("waitpid: %s", strerror(errno));
  if (WIFEXITED(status) && WEXITSTATUS(status) == skipped) tracee = 0, skip("ptrace is not allowed here");
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP || here() != (uintptr_t)subjectRested) giveUp("the traced process did not come to rest (status %#x)", status);
  ptrace(PTRACE_SETOPTIONS, tracee, NULL, (void *)PTRACE_O_EXITKILL);
  areaAddress = (uintptr_t)__builtin_thread_pointer() + (uintptr_t)stave_hot_storage.rseq_offset;
}

/// Whether debug registers can be set, and stop the thread.
static void tryBreakpoints(void) {
  Model model;
  snprintf(trying, sizeof trying, "the first breakpoint");
  begin(&model, paths[0].fill);
  world->request = paths[0].request;
  hasBreakpoints = breakAt((uintptr_t)reallyPop, 0) && go(PTRACE_CONT, 0) == (uintptr_t)reallyPop;
  if (!hasBreakpoints) printf("No debug registers here: every instruction is reached by steps only.\n");
  else breakAt(0, 0), go(PTRACE_CONT, 0);
}

int main(int count, char **arguments) {
  int cpus[2], rounds = count > 1 ? atoi(arguments[1]) : 1;
  if (usableCPUs(cpus, 2) < 2) skip("migration needs two CPUs");
  startSections();
  world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (world == MAP_FAILED) skip("mmap: %s", strerror(errno));
  world->cpu[0] = cpus[0], world->cpu[1] = cpus[1];
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGALRM, onAlarm);
  alarm(60);
  struct timespec began, ended;
  clock_gettime(CLOCK_MONOTONIC, &began);
  startTracee();
  tryBreakpoints();
  observe();
  for (int round = 0; round < rounds; round++) {
    alarm(60);
    for (int path = 0; path < pathCount; path++) tryPath(&paths[path]);
  }
  clock_gettime(CLOCK_MONOTONIC, &ended);
  kill(tracee, SIGKILL);
  printTables();
  double seconds = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
  printf("\n%s: %d paths through 4 sections, %d disturbances, %lu trials, %lu restarts, %lu signals, %lu migrations, %lu failures, %.1f s\n",
         failures ? "FAILED" : "passed", pathCount, disturbanceCount, trials, restarts, signalsTaken, migrations, failures, seconds);
  return failures != 0;
}
