// SPDX-License-Identifier: BSD-2-Clause
//
// server: sessions outlive the threads that serve them. Each thread takes a table of live sessions, replaces random ones
// for a while and exits; the next generation of threads takes the tables over, each from another predecessor, so that
// memory bleeds from thread to thread.

#include "workload.h"

enum { workers = 4, sessions = 5000 };
typedef struct { uint64_t *live[sessions]; uint64_t state, count, sum; } Table;

static void *serve(void *argument) {
  Table *table = argument;
  uint64_t state = table->state, sum = 0;
  for (uint64_t i = 0; i < table->count; i++) {
    uint64_t **slot = &table->live[drawBelow(&state, sessions)];
    if (*slot) sum += dispose(*slot);
    *slot = allocate(10 + drawBelow(&state, 500), i);
  }
  table->state = state;
  table->sum += sum;
  return NULL;
}

void server(Run *run) {
  static Table tables[workers];
  uint64_t generations = scaled(run, 180), threads[workers];
  for (int i = 0; i < workers; i++) tables[i].state = run->seed + (uint64_t)i, tables[i].count = 60000;
  begin(run);
  for (uint64_t generation = 0; generation < generations; generation++) {
    for (uint64_t i = 0; i < workers; i++)
      startThread(&threads[i], serve, &tables[(i + generation) % workers], -1);
    for (int i = 0; i < workers; i++) joinThread(threads[i]);
  }
  end(run);
  for (int i = 0; i < workers; i++) {
    run->checksum += tables[i].sum;
    for (int j = 0; j < sessions; j++)
      if (tables[i].live[j]) run->checksum += dispose(tables[i].live[j]);
  }
  run->ops = generations * workers * tables[0].count;
}
