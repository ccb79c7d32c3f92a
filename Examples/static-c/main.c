// SPDX-License-Identifier: BSD-2-Clause
//
// A C program with Stave's malloc linked in: the words of its input, sorted.
//
//     cc main.c -u malloc ../../build/libstave.a -o words            # or with -static
//     STAVE_OPTIONS=stats:exit ./words < main.c

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

int main(void) {
  char **words = NULL, *line = NULL;
  size_t count = 0, room = 0, length = 0;
  while (getline(&line, &length, stdin) > 0)
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
      if (count == room) words = realloc(words, (room = room * 2 + 16) * sizeof *words);
      words[count++] = strdup(word);
    }
  qsort(words, count, sizeof *words, compare);
  for (size_t i = 0; i < count; i++) puts(words[i]), free(words[i]);
  free(words);
  free(line);
  return 0;
}
