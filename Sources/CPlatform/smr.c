// SPDX-License-Identifier: BSD-2-Clause
//
// A thread's place in safe memory reclamation. In a file of its own: a library without it leaves the word out.

#include "CPlatform.h"

__thread uint32_t stave_smr_place_storage STAVE_HIDDEN __attribute__((tls_model("initial-exec")));
