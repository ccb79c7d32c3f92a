// SPDX-License-Identifier: BSD-2-Clause
//
// Steps that somebody takes on the cells of two CPUs, said once and taken twice: really, through the sections, and by a
// model that knows nothing of instructions. Since only one party moves at any time, the model says exactly what the memory
// must hold afterwards: every slot, every word, every holder.

#ifndef MODEL_H
#define MODEL_H

#include "cells.h"

enum { cellRoom = 12, itemCount = 32, zoneCell = 2, cellArray = 4, heldRoom = 48 };
#define ZONE_OFFSET (zoneCell * sizeof(struct stave_cell))

typedef enum { END, POP, PUSH, PUSH_FOREIGN, PUSH_AGAIN, FILL, FLUSH, FREEZE, EMPTY, REFILL, THAW, HOP } StepKind;
/// `where`: 0 for the CPU on which the subject began, 1 for the other. The handler has no choice: it is where it is.
typedef struct {
  StepKind kind;
  int where;
  unsigned count;
} Step;

typedef enum { subject, handler, helper, parties } Party;
typedef struct {
  unsigned count;
  uint64_t pushes, result;  // `result`: of the last operation
  uintptr_t held[heldRoom];
} Holder;

/// All that the tracer and the traced process both see.
typedef struct {
  struct stave_cell cells[2][cellArray];
  uintptr_t slots[2][1 + cellRoom + 3];  // the first word stays zero
  Holder holders[parties];
  int cpu[2];      // the CPU of cells[0] and of cells[1]
  int swapped;     // whether the subject begins on cpu[1]
  uintptr_t again; // the item that PUSH_AGAIN pushes
  Step request;    // the subject's operation
  Step handlerSteps[6];
  uintptr_t interrupted;  // where the handler found the thread
  int handlerCPU, handled;
  volatile int inHandler;
  Step helperSteps[8];
  uint32_t asked, done;
  pid_t process;
} World;

static World *world;

typedef struct {
  uintptr_t slots[2][cellRoom];  // by `where`
  unsigned fill[2];
  uint64_t pops[2];
  int64_t moved[2];
  bool frozen[2];
  Holder holders[parties];
} Model;

SHARED int number(int where) { return where ^ world->swapped; }
SHARED struct stave_cell *realCell(int where) { return &world->cells[number(where)][zoneCell]; }

// MARK: - Really

__attribute__((noinline)) SHARED void reallyPop(Holder *who) {
  uintptr_t item = (uintptr_t)stave_pop(ZONE_OFFSET);
  if (item) who->held[who->count++] = item;
  who->result = item;
}

__attribute__((noinline)) SHARED void reallyPush(Holder *who, uintptr_t item) {
  int result = stave_push(ZONE_OFFSET, (void *)item);
  if (result == STAVE_PUSHED) who->count--, who->pushes++;
  who->result = (uint64_t)result;
}

__attribute__((noinline)) SHARED void reallyFill(Holder *who, unsigned count) {
  struct stave_cell *into = NULL;
  uint64_t filled = stave_fill(ZONE_OFFSET, who->held, count, &into);
  if (filled) stave_add(&into->moved, -(int64_t)filled);
  who->count -= (unsigned)filled;
  memmove(who->held, who->held + filled, who->count * sizeof who->held[0]);
  who->result = filled;
}

__attribute__((noinline)) SHARED void reallyFlush(Holder *who, unsigned count) {
  struct stave_cell *outOf = NULL;
  uint64_t flushed = stave_flush(ZONE_OFFSET, who->held + who->count, count, &outOf);
  if (flushed) stave_add(&outOf->moved, (int64_t)flushed);
  who->count += (unsigned)flushed;
  who->result = flushed;
}

SHARED unsigned atMost(unsigned a, unsigned b) { return a < b ? a : b; }

/// From outside, on a frozen CPU: plain loads and stores.
SHARED void reallyEmpty(Holder *who, struct stave_cell *cell) {
  while (cell->word & 0xffff) {
    who->held[who->count++] = cell->slots[(cell->word & 0xffff) - 1];
    cell->word--;
    cell->moved++;
  }
}
SHARED void reallyRefill(Holder *who, struct stave_cell *cell, unsigned count) {
  for (; count && who->count && (cell->word & 0xffff) < cell->capacity; count--) {
    cell->slots[cell->word & 0xffff] = who->held[--who->count];
    cell->word++;
    cell->moved--;
  }
}

SHARED void really(Holder *who, Step step) {
  uintptr_t top = who->count ? who->held[who->count - 1] : 0;
  switch (step.kind) {
  case POP: reallyPop(who); break;
  case PUSH: if (top) reallyPush(who, top); break;
  case PUSH_FOREIGN: reallyPush(who, top + 8); break;
  case PUSH_AGAIN: reallyPush(who, world->again); break;
  case FILL: reallyFill(who, atMost(step.count, who->count)); break;
  case FLUSH: reallyFlush(who, step.count); break;
  case FREEZE: freeze(world->cpu[number(step.where)]); break;
  case EMPTY: reallyEmpty(who, realCell(step.where)); break;
  case REFILL: reallyRefill(who, realCell(step.where), step.count); break;
  case THAW: thaw(world->cpu[number(step.where)], world->cells[number(step.where)]); break;
  case HOP: moveThread(0, world->cpu[number(step.where)]); break;
  case END: break;
  }
}

// MARK: - By the model

/// What a push, pop, fill or flush returns; 0 for the other steps.
SHARED uint64_t supposedly(Model *model, Holder *who, Step step, int at) {
  unsigned *fill = &model->fill[at];
  uintptr_t *slots = model->slots[at];
  unsigned count;
  switch (step.kind) {
  case POP:
    if (model->frozen[at] || *fill == 0) return 0;
    model->pops[at]++;
    return who->held[who->count++] = slots[--*fill];
  case PUSH:
  case PUSH_AGAIN:
    if (step.kind == PUSH && !who->count) return 0;
    if (model->frozen[at]) return STAVE_PUSH_FOREIGN;
    if (*fill == cellRoom) return STAVE_PUSH_FULL;
    if (step.kind == PUSH_AGAIN) return STAVE_PUSH_AGAIN;
    slots[(*fill)++] = who->held[--who->count];
    who->pushes++;
    return STAVE_PUSHED;
  case PUSH_FOREIGN: return STAVE_PUSH_FOREIGN;
  case FILL:
    count = model->frozen[at] ? 0 : atMost(atMost(step.count, who->count), cellRoom - *fill);
    memcpy(slots + *fill, who->held, count * sizeof *slots);
    *fill += count, who->count -= count, model->moved[at] -= count;
    memmove(who->held, who->held + count, who->count * sizeof *slots);
    return count;
  case FLUSH:
    count = model->frozen[at] ? 0 : atMost(step.count, *fill);
    *fill -= count, model->moved[at] += count;
    memcpy(who->held + who->count, slots + *fill, count * sizeof *slots);
    who->count += count;
    return count;
  case FREEZE: model->frozen[step.where] = true; return 0;
  case THAW: model->frozen[step.where] = false; return 0;
  case EMPTY:
    for (; model->fill[step.where]; model->moved[step.where]++)
      who->held[who->count++] = model->slots[step.where][--model->fill[step.where]];
    return 0;
  case REFILL:
    for (count = step.count; count && who->count && model->fill[step.where] < cellRoom; count--, model->moved[step.where]--)
      model->slots[step.where][model->fill[step.where]++] = who->held[--who->count];
    return 0;
  case HOP:
  case END: return 0;
  }
  return 0;
}

// MARK: - Comparing

static uint64_t popsBefore, pushesBefore;

/// The model and the world at the beginning: `fill` items in each cell, the rest divided among the parties.
SHARED void begin(Model *model, const unsigned fill[2]) {
  unsigned next = 0;
  memset(model, 0, sizeof *model);
  for (int where = 0; where < 2; where++) {
    struct stave_cell *cell = realCell(where);
    uintptr_t *slots = world->slots[number(where)];
    memset(slots, 0, sizeof world->slots[0]);
    for (unsigned i = 0; i < fill[where]; i++) slots[1 + i] = model->slots[where][i] = itemNumber(next++);
    model->fill[where] = fill[where];
    model->pops[where] = where ? 77 : 0xffffffff;  // a carry into the upper half of the word
    model->moved[where] = where ? -5 : 9;
    *cell = (struct stave_cell){model->pops[where] << 16 | fill[where], model->moved[where], cellRoom, RECIPROCAL, slots + 1};
  }
  world->again = fill[0] ? model->slots[0][fill[0] - 1] : 0;
  static const unsigned share[parties] = {5, 3, itemCount};
  for (int who = 0; who < parties; who++)
    while (next < itemCount && model->holders[who].count < share[who]) {
      Holder *holder = &model->holders[who];
      holder->held[holder->count++] = itemNumber(next++);
    }
  memcpy(world->holders, model->holders, sizeof world->holders);
  popsBefore = model->pops[0] + model->pops[1];
  pushesBefore = 0;
  for (int where = 0; where < 2; where++)
    pushesBefore += model->fill[where] + model->pops[where] + (uint64_t)model->moved[where];
}

/// NULL if the world is as the model says and every item is in one place, else what is wrong.
SHARED const char *differs(const Model *model) {
  static char text[160];
  unsigned places[itemCount] = {0};
  uint64_t frees = 0, pushes = 0;
  for (int where = 0; where < 2; where++) {
    struct stave_cell *cell = realCell(where);
    unsigned fill = cell->word & 0xffff;
    frees += fill + (cell->word >> 16) + (uint64_t)cell->moved;
    for (unsigned i = 0; i < fill && i < cellRoom; i++) {
      long index = itemIndex(cell->slots[i], itemCount);
      if (index < 0) return "a cell holds what is no item";
      places[index]++;
    }
    snprintf(text, sizeof text, "cell %d: fill %u, %llu pops, moved %lld where %u, %llu, %lld were expected", where, fill,
             (unsigned long long)(cell->word >> 16), (long long)cell->moved, model->fill[where],
             (unsigned long long)model->pops[where], (long long)model->moved[where]);
    if (fill != model->fill[where] || cell->word >> 16 != model->pops[where] || cell->moved != model->moved[where]) return text;
    if (memcmp(cell->slots, model->slots[where], fill * sizeof(uintptr_t))) return "the right number of items, but not the right ones";
    if (cell->slots[-1] || cell->capacity != cellRoom || cell->reciprocal != RECIPROCAL) return "the cell itself was written over";
  }
  for (int who = 0; who < parties; who++) {
    const Holder *is = &world->holders[who], *should = &model->holders[who];
    static const char *const names[] = {"the subject", "the handler", "the helper"};
    snprintf(text, sizeof text, "%s holds %u items, not %u, or others", names[who], is->count, should->count);
    if (is->count != should->count || is->pushes != should->pushes || memcmp(is->held, should->held, is->count * sizeof is->held[0])) return text;
    pushes += is->pushes;
    for (unsigned i = 0; i < is->count; i++) {
      long index = itemIndex(is->held[i], itemCount);
      if (index < 0) return "somebody holds what is no item";
      places[index]++;
    }
  }
  for (unsigned i = 0; i < itemCount; i++)
    if (places[i] != 1) return places[i] ? "an item is in two places" : "an item is lost";
  if (frees - pushesBefore != pushes) return "frees (fill + pops + moved) are not the pushes";
  return NULL;
}

#endif
