// SPDX-License-Identifier: BSD-2-Clause
//
// Nothing of libstavezones is C but the note of its root, the list of its names, exports.map, and what the library has that the archive
// has not. This target is where the linker is told of them.

#ifndef CSTAVEZONES_H
#define CSTAVEZONES_H
#endif
