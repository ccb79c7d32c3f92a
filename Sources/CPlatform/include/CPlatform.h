// SPDX-License-Identifier: BSD-2-Clause
//
// What Swift cannot say, in headers: system calls without errno, restartable sequences, the storage of the few globals
// that must exist before anything has run. No policy lives here.

#ifndef STAVE_CPLATFORM_H
#define STAVE_CPLATFORM_H

#include "stave_syscalls.h"
#include "stave_storage.h"
#include "stave_rseq.h"
#include "stave_thread.h"
#include "stave_clone.h"
#include "stave_type.h"
#include "stave_callers.h"
#include "stave_capture.h"
#include "stave_tracing.h"
#include "stave_probes.h"
#include "stave_stacks.h"
#include "stave_faults.h"
#include "stave_reports.h"
#include "stave_smr.h"
#include "stave_roots.h"

#endif
