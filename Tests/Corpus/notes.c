// SPDX-License-Identifier: BSD-2-Clause
//
// A module of redis with two mistakes: a text of more than 1040 bytes is written beyond its note, and the last note is read after it was
// dropped. Without guards neither shows: the size class has 112 bytes more, and what is free stays readable.
//
//     note.add TEXT    note.drop    note.last (the length of its text)
//
// Of redis's interface for modules it declares what it needs, for no header of it need be installed.

#include <stdlib.h>
#include <string.h>

typedef struct context context;
typedef struct string string;
typedef int command(context *, string **arguments, int count);

static int (*createCommand)(context *, const char *name, command *, const char *flags, int firstKey, int lastKey, int step);
static void (*setModuleAttributes)(context *, const char *name, int version, int interface);
static const char *(*textOf)(const string *, size_t *length);
static int (*reply)(context *, long long);

struct note {
  char text[1040];
};
static struct note *last;

static int note_add(context *redis, string **arguments, int count) {
  if (count != 2) return reply(redis, -1);
  size_t length;
  const char *text = textOf(arguments[1], &length);
  last = calloc(1, sizeof *last);
  volatile char *place = last->text;
  for (size_t i = 0; i < length; i++) place[i] = text[i];
  return reply(redis, (long long)length);
}

static int note_drop(context *redis, string **arguments, int count) {
  (void)arguments, (void)count;
  free(last);
  return reply(redis, 0);
}

static int note_last(context *redis, string **arguments, int count) {
  (void)arguments, (void)count;
  const volatile char *text = last->text;
  size_t length = 0;
  while (length < sizeof last->text && text[length]) length++;
  return reply(redis, (long long)length);
}

int RedisModule_OnLoad(context *redis, string **arguments, int count);
int RedisModule_OnLoad(context *redis, string **arguments, int count) {
  (void)arguments, (void)count;
  // A module finds the interface's functions by name, through the first word of what it is given.
  int (*find)(const char *name, void *function) = *(int (**)(const char *, void *))redis;
  if (find("RedisModule_CreateCommand", &createCommand) || find("RedisModule_SetModuleAttribs", &setModuleAttributes) ||
      find("RedisModule_StringPtrLen", &textOf) || find("RedisModule_ReplyWithLongLong", &reply))
    return 1;
  setModuleAttributes(redis, "notes", 1, 1);
  return createCommand(redis, "note.add", note_add, "", 0, 0, 0) || createCommand(redis, "note.drop", note_drop, "", 0, 0, 0) ||
         createCommand(redis, "note.last", note_last, "", 0, 0, 0);
}
