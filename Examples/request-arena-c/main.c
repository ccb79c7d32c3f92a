// SPDX-License-Identifier: BSD-2-Clause
//
// An arena for each request of a server, on a secondary zone. The primary zone hands out blocks of 16 KiB; the secondary one hands out the
// same blocks with an arena in them, ready for use. What a request allocates is never freed one by one: when its arena is freed, the
// destructor gives the further blocks back, and the arena is as empty as it was made. A block that is no arena any more may be one of
// a request that needs more room, and the other way round: both zones take from the same pages.
//
// Requests are lines of standard input, as "name=rose&colour=red&size=3"; the answer has their fields in order of their names.
//
//   cc -o request-arena main.c -lstavezones

#include <stave.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { block_bytes = 16384 };

struct block {
  struct block *next;
};

struct arena {
  struct block *more;  // further blocks
  char *place, *end;   // what is left of the newest block
};

static struct stave_zone *blocks, *arenas;

// When a block comes from the pages to be an arena.
static int arena_init(void *item, size_t size, int flags) {
  struct arena *arena = item;
  (void)flags;
  arena->more = NULL;
  arena->place = (char *)(arena + 1);
  arena->end = (char *)item + size;
  return 0;
}

// When the request is over.
static void arena_dtor(void *item, size_t size, void *argument) {
  struct arena *arena = item;
  (void)argument;
  while (arena->more != NULL) {
    struct block *block = arena->more;
    arena->more = block->next;
    stave_zone_free(blocks, block);
  }
  arena->place = (char *)(arena + 1);
  arena->end = (char *)item + size;
}

static void *allocate(struct arena *arena, size_t size) {
  size = (size + 15) & ~(size_t)15;
  if (size > (size_t)(arena->end - arena->place)) {
    if (size > block_bytes - sizeof(struct block)) return NULL;
    struct block *block = stave_zone_alloc(blocks, STAVE_NOWAIT);
    if (block == NULL) return NULL;
    block->next = arena->more;
    arena->more = block;
    arena->place = (char *)(block + 1);
    arena->end = (char *)block + block_bytes;
  }
  void *result = arena->place;
  arena->place += size;
  return result;
}

struct field {
  struct field *next;
  const char *name, *value;
};

static const char *copy(struct arena *arena, const char *text, size_t length) {
  char *result = allocate(arena, length + 1);
  if (result == NULL) return "";
  memcpy(result, text, length);
  result[length] = 0;
  return result;
}

static void answer(const char *line, struct arena *arena) {
  struct field *fields = NULL;
  while (*line != 0 && *line != '\n') {
    size_t length = strcspn(line, "&\n"), name = strcspn(line, "=&\n");
    struct field *field = allocate(arena, sizeof *field);
    if (field == NULL) return;
    field->name = copy(arena, line, name);
    field->value = name < length ? copy(arena, line + name + 1, length - name - 1) : "";
    struct field **place = &fields;
    while (*place != NULL && strcmp((*place)->name, field->name) <= 0) place = &(*place)->next;
    field->next = *place;
    *place = field;
    line += length + (line[length] == '&');
  }
  for (struct field *field = fields; field != NULL; field = field->next) printf("%s: %s%s", field->name, field->value, field->next ? ", " : "");
  putchar('\n');
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  blocks = stave_zone_create("block", block_bytes, NULL, NULL, NULL, NULL, STAVE_ALIGN_CACHE, 0);
  if (blocks == NULL) return 1;
  arenas = stave_zone_create_secondary("request", NULL, arena_dtor, arena_init, NULL, 0, blocks);
  if (arenas == NULL) return 1;
  while (getline(&line, &room, stdin) >= 0) {
    struct arena *arena = stave_zone_alloc(arenas, STAVE_WAITOK);
    if (arena == NULL) return 1;
    answer(line, arena);
    stave_zone_free(arenas, arena);
  }
  free(line);
  struct stave_zone_stat stat;
  stave_zone_get_stat(arenas, &stat);
  fprintf(stderr, "%llu requests, %llu arenas out\n", (unsigned long long)stat.requests, (unsigned long long)stat.used);
  return stave_zone_destroy(arenas) + stave_zone_destroy(blocks) != 0;
}
