// SPDX-License-Identifier: BSD-2-Clause
//
// The note that names a copy of Stave's root to readers where no symbol does (Inspection/StaveNote.swift describes it). It is part of
// whatever holds a core that serves: libstave.so, libstavezones.so, and programs that use the Swift API.

#include "CStaveNote.h"

__asm__(".pushsection .note.stave, \"a\", @note\n\t.balign 4\n\t.long 6, 8, 1\n\t.asciz \"Stave\"\n\t.balign 4\n"
        "1:\t.quad stave_root_bytes - 1b\n\t.popsection");

const char stave_note_is_here = 1;
