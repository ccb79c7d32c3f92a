// SPDX-License-Identifier: BSD-2-Clause
//
// plugins LIBRARY: loads and unloads a small shared library in a loop, from one thread and from several, while its
// constructor and destructor allocate. Blocks cross the boundary both ways and outlive the library.

#include "scenario.h"

static const char *path;

typedef struct {
  uint64_t stream;
  unsigned long rounds;
} Task;

static void *load(void *argument) {
  Task *task = argument;
  Random random = randomFrom(task->stream);
  char *outliving[16] = {0};
  size_t sizes[16] = {0};
  for (unsigned long round = 0; round < task->rounds; round++) {
    void *handle = dlopen(path, round % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_LOCAL);
    CHECK(handle, "%s", dlerror());
    char *(*give)(size_t), *(*grow)(char *, size_t);
    void (*take)(char *);
    *(void **)&give = dlsym(handle, "pluginGive");
    *(void **)&grow = dlsym(handle, "pluginGrow");
    *(void **)&take = dlsym(handle, "pluginTake");
    CHECK(give && grow && take, "%s", dlerror());
    for (unsigned i = 0; i < 60; i++) {
      unsigned slot = (unsigned)below(&random, 16);
      if (outliving[slot]) verify(outliving[slot], sizes[slot], tagOf(outliving[slot], 1), "a block that outlived its library");
      size_t size = randomSize(&random, 300000);
      switch (below(&random, 3)) {
      case 0:
        take(outliving[slot]);
        outliving[slot] = malloc(size);
        break;
      case 1:
        free(outliving[slot]);
        outliving[slot] = give(size);
        break;
      default: outliving[slot] = grow(outliving[slot], ++size); break;
      }
      CHECK(outliving[slot], "%zu bytes: %s", size, strerror(errno));
      sizes[slot] = size;
      paint(outliving[slot], size, tagOf(outliving[slot], 1));
    }
    CHECK(dlclose(handle) == 0, "%s", dlerror());
    CHECK(!dlopen("/nonexistent/library.so", RTLD_NOW), "a library that does not exist was loaded");
    CHECK(dlerror(), "no message");
  }
  for (unsigned i = 0; i < 16; i++) {
    if (outliving[i]) verify(outliving[i], sizes[i], tagOf(outliving[i], 1), "at the end");
    free(outliving[i]);
  }
  return NULL;
}

int main(int count, char **arguments) {
  begin(count, arguments);
  path = role;
  if (!*path) {
    fprintf(stderr, "usage: plugins LIBRARY\n");
    return 2;
  }
  Task alone = {1, scaled(4000)};
  load(&alone);
  Task together[4];
  pthread_t threads[4];
  for (unsigned i = 0; i < 4; i++) {
    together[i] = (Task){2 + i, scaled(2000)};
    threads[i] = startThread(load, &together[i]);
  }
  for (unsigned i = 0; i < 4; i++) joinThread(threads[i]);
  return 0;
}
