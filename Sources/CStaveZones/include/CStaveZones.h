// SPDX-License-Identifier: BSD-2-Clause
//
// Nothing of libstavezones is C but the note of its root and the list of its names, exports.map. This target is where the linker is
// told of both.

#ifndef CSTAVEZONES_H
#define CSTAVEZONES_H
#endif
