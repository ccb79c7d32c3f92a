// SPDX-License-Identifier: BSD-2-Clause
//
// The restartable sections, interrupted at every instruction. A traced process takes one operation at a time; the tracer
// stops it at an instruction, disturbs it (signal, migration, other threads on the same cell, emptying from outside), lets
// it go on, and compares all memory with a model (model.h). Every instruction from before the arming store to after the
// commit, each path through each section, every disturbance.
//
// What Linux does (seen on 6.18): a ptrace stop is a context switch, so a thread stopped inside a section goes on at the
// section's abort handler, never at the next instruction. Plain single-stepping therefore circles for ever between the
// arming store and the first instruction behind it; a line of output says what this kernel did. Hence two ways in:
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
// Arguments: [rounds] [steps]. One round goes to each instruction by a breakpoint and into each `rep` by steps, two or more
// go everywhere both ways; `steps` does without debug registers. Exit status 0, 1 for a failure, 77 where this cannot be tried.

#include "tracer.h"
#include "paths.h"

#include <time.h>

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
    if (!hasBreakpoints || repeats || bothWays) tryEverything(path, &trail, boundary, bySteps, what);
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
  if (count < 3) tryBreakpoints();
  bothWays = rounds > 1;
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
