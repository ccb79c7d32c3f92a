// SPDX-License-Identifier: BSD-2-Clause
//
// What the subject and its tracer share: one page in which the subject says what it wants, and which events it expects.

#ifndef PROBES_H
#define PROBES_H

#include <stdint.h>

enum { expectedEvents = 200, anyValue = -12345, sharedDescriptor = 200 };

struct event {
  char probe[24];      // "stave:malloc"
  char text[32];       // the first argument, if it is one
  int64_t values[6];   // the others
  uint32_t count;      // of values
};

// A request: "+stave:malloc" and "-stave:malloc" change a semaphore; "all" compares all events since the last request with the expected ones,
// "some" looks for those among them, "count" wants between least and most of the probe named first.
struct shared {
  char request[32];
  uint32_t count, least, most;
  struct event expected[expectedEvents];
};

#endif
