// SPDX-License-Identifier: BSD-2-Clause
//
// Other copies of Stave in this process, by the notes that name their roots to readers outside (Inspection/StaveNote.swift).

#ifndef STAVE_ROOTS_H
#define STAVE_ROOTS_H

#include <stdbool.h>
#include <stdint.h>

// Calls `body` with each of their roots, and the path of the program or library that it lies in, "" for the program, until it says true.
// Whether it did. What is at a root is for `body` to judge. Takes the loader's lock: for reports, not for signal handlers.
bool stave_find_other_root(
    bool (*_Nonnull body)(const void *_Nonnull root, const char *_Nonnull path, void *_Nullable context), void *_Nullable context)
    __attribute__((visibility("hidden")));

#endif
