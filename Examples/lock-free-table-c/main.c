// SPDX-License-Identifier: BSD-2-Clause
//
// A table from names to numbers that is read without a lock. Readers walk a bucket's list within a section; writers, one at a time, put
// entries in, replace them and take them out, and free them at once: the zone reuses an entry when no reader is left that may be at it.
//
//   cc -std=c11 -pthread -o lock-free-table main.c -lstavezones

#include <pthread.h>
#include <stave.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct entry {
  _Atomic(struct entry *) next;
  char name[24];
  long number;
};

struct table {
  pthread_mutex_t writer;
  struct stave_zone *zone;
  struct stave_smr *smr;
  _Atomic(struct entry *) buckets[256];
};

static unsigned hash(const char *name) {
  unsigned value = 5381;
  while (*name != 0) value = value * 33 + (unsigned char)*name++;
  return value % 256;
}

static int table_init(struct table *table) {
  memset(table, 0, sizeof *table);
  pthread_mutex_init(&table->writer, NULL);
  table->zone = stave_zone_create("table entry", sizeof(struct entry), NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, STAVE_ZONE_SMR);
  if (table->zone == NULL) return -1;
  table->smr = stave_zone_get_smr(table->zone);
  return 0;
}

// The number of a name, or `otherwise`. Takes no lock and waits for nobody.
static long table_get(struct table *table, const char *name, long otherwise) {
  stave_smr_enter(table->smr);
  struct entry *entry = atomic_load_explicit(&table->buckets[hash(name)], memory_order_acquire);
  while (entry != NULL && strcmp(entry->name, name) != 0) entry = atomic_load_explicit(&entry->next, memory_order_acquire);
  long number = entry != NULL ? entry->number : otherwise;
  stave_smr_exit(table->smr);
  return number;
}

// Where the entry of a name hangs, or would. The lock is held.
static _Atomic(struct entry *) *place(struct table *table, const char *name) {
  _Atomic(struct entry *) *link = &table->buckets[hash(name)];
  struct entry *entry;
  while ((entry = atomic_load_explicit(link, memory_order_relaxed)) != NULL && strcmp(entry->name, name) != 0) link = &entry->next;
  return link;
}

// An entry that readers can find never changes: another takes its place.
static int table_set(struct table *table, const char *name, long number) {
  struct entry *entry = stave_zone_alloc_smr(table->zone, STAVE_NOWAIT);
  if (entry == NULL) return -1;
  snprintf(entry->name, sizeof entry->name, "%s", name);
  entry->number = number;
  pthread_mutex_lock(&table->writer);
  _Atomic(struct entry *) *link = place(table, name);
  struct entry *old = atomic_load_explicit(link, memory_order_relaxed);
  atomic_init(&entry->next, old != NULL ? atomic_load_explicit(&old->next, memory_order_relaxed) : NULL);
  atomic_store_explicit(link, entry, memory_order_release);
  pthread_mutex_unlock(&table->writer);
  stave_zone_free_smr(table->zone, old);
  return 0;
}

static int table_remove(struct table *table, const char *name) {
  pthread_mutex_lock(&table->writer);
  _Atomic(struct entry *) *link = place(table, name);
  struct entry *old = atomic_load_explicit(link, memory_order_relaxed);
  // The entry still leads on: a reader that is at it finds the rest.
  if (old != NULL) atomic_store_explicit(link, atomic_load_explicit(&old->next, memory_order_relaxed), memory_order_release);
  pthread_mutex_unlock(&table->writer);
  stave_zone_free_smr(table->zone, old);
  return old != NULL;
}

// The program: every name's number always ends with the name's own digits, or there is none.

enum { names = 400, changes = 40000 };
static struct table table;
static atomic_int over;

static void *reader(void *result) {
  char name[24];
  for (unsigned turn = 0; !atomic_load(&over); turn++) {
    long wanted = turn % names;
    snprintf(name, sizeof name, "name %ld", wanted);
    long number = table_get(&table, name, -1);
    if (number != -1 && number % 1000 != wanted) ++*(long *)result;
  }
  return NULL;
}

int main(void) {
  pthread_t readers[2];
  long wrong[2] = {0, 0};
  char name[24];
  if (table_init(&table) != 0) return 1;
  for (int index = 0; index < 2; index++) {
    if (pthread_create(&readers[index], NULL, reader, &wrong[index]) != 0) return 1;
  }
  for (long change = 0; change < changes; change++) {
    long which = change * 7 % names;
    snprintf(name, sizeof name, "name %ld", which);
    if (change % 5 == 4) table_remove(&table, name);
    else if (table_set(&table, name, change * 1000 + which) != 0) return 1;
  }
  atomic_store(&over, 1);
  for (int index = 0; index < 2; index++) pthread_join(readers[index], NULL);
  int there = 0;
  for (long which = 0; which < names; which++) {
    snprintf(name, sizeof name, "name %ld", which);
    if (table_get(&table, name, -1) == -1) continue;
    there++;
    table_remove(&table, name);
  }
  printf("%d names, %ld wrong answers\n", there, wrong[0] + wrong[1]);
  return stave_zone_destroy(table.zone) != 0;
}
