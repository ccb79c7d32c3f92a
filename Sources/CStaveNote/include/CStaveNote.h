// SPDX-License-Identifier: BSD-2-Clause

#ifndef CSTAVENOTE_H
#define CSTAVENOTE_H

// For whoever must name something of a file that has nothing but the note.
extern const char stave_note_is_here __attribute__((visibility("hidden")));

#endif
