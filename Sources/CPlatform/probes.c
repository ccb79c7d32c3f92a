// SPDX-License-Identifier: BSD-2-Clause
//
// The places of the probes, each once, and the storage behind stave_tracing.h.

#define STAVE_PROBE_SITES
#include "CPlatform.h"

// To whatever moves a library's addresses in its file, this says by how much.
__asm__(".pushsection .stapsdt.base, \"aR\", @progbits\n\t.globl stave_probe_base\n\t.hidden stave_probe_base\nstave_probe_base:\n\t.space 1\n\t.popsection");

// Semaphores begin a page of the file. A linker may have another writable segment end in the page before, which is mapped twice then;
// and in a process that starts while somebody watches, the kernel counts in the first writable mapping of a semaphore's place. What
// describes restartable sequences goes before them, where it takes room that would be empty.
__asm__(".pushsection __rseq_cs, \"awR\", @progbits\n\t.balign 32\n\t.popsection");
__asm__(".pushsection .probes, \"aw\", @progbits\n\t.balign 4096\n\t.popsection");

union stave_free_base stave_free_base_storage STAVE_SEMAPHORE;
uint64_t stave_samples_storage[1 << STAVE_SAMPLE_BITS] __attribute__((aligned(64)));
uint64_t stave_sample_states_storage[STAVE_SAMPLE_STATES * 8] __attribute__((aligned(64)));
