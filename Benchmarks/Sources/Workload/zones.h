// SPDX-License-Identifier: BSD-2-Clause
//
// Stave's zones, pools and packets for the workloads, found by name in the library that is preloaded: the workloads need not be linked
// with it, and calls go by way of a pointer, as calls into any shared library do.

#pragma once
#include "../../../Sources/StaveC/include/stave.h"
#include "../../../Sources/StaveC/include/stave_zone.h"
#include "../../../Sources/StaveC/include/stave_pool.h"
#include "../../../Sources/StaveC/include/stave_mbuf.h"

/// The address of a function of libstavezones.so, or of whatever else has been preloaded; ends the process where there is none.
void *foundCall(const char *name);

/// Declares `call` as a local pointer to the function of that name.
#define find(call) __typeof__(call) *const call##_ = (__typeof__(call) *)foundCall(#call)
