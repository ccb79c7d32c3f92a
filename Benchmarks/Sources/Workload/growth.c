// SPDX-License-Identifier: BSD-2-Clause
//
// growth: 32 buffers that are appended to in random turns, as strings and arrays are: capacity grows by half at a time
// with realloc, from 16 bytes to 256 KiB, is shrunk to fit, and the buffer dies.

#include "workload.h"
#include <string.h>

enum { bufferCount = 32, fullSize = 256 << 10 };
typedef struct { char *bytes; size_t used, capacity; } Buffer;

static void append(Buffer *buffer, int letter, size_t length) {
  if (buffer->used + length > buffer->capacity) {
    size_t wanted = buffer->capacity + buffer->capacity / 2;
    if (wanted < buffer->used + length) wanted = buffer->used + length;
    buffer->bytes = realloc(buffer->bytes, wanted);
    if (!buffer->bytes) die("out of memory");
    buffer->capacity = wanted;
  }
  memset(buffer->bytes + buffer->used, letter, length);
  buffer->used += length;
}

static uint64_t finish(Buffer *buffer) {
  char *bytes = realloc(buffer->bytes, buffer->used);
  if (!bytes) die("cannot shrink");
  uint64_t sum = 0;
  for (size_t i = 0; i < buffer->used; i += 61) sum += (unsigned char)bytes[i];
  free(bytes);
  *buffer = (Buffer){0};
  return sum;
}

void growth(Run *run) {
  Buffer buffers[bufferCount] = {0};
  uint64_t count = scaled(run, 4000000), state = run->seed, sum = 0;
  begin(run);
  for (uint64_t i = 0; i < count; i++) {
    Buffer *buffer = &buffers[drawBelow(&state, bufferCount)];
    // The fuller, the longer the pieces: small and large capacities take similar shares of the time.
    append(buffer, (int)(i & 127), 1 + drawBelow(&state, 16 + buffer->used / 8));
    if (buffer->used > fullSize) sum += finish(buffer);
  }
  for (int i = 0; i < bufferCount; i++)
    if (buffers[i].used) sum += finish(&buffers[i]);
  end(run);
  run->ops = count;
  run->checksum = sum;
}
