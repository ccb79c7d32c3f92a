// SPDX-License-Identifier: BSD-2-Clause
//
// The places of these probes, each once. What they share with the others is in CPlatform/probes.c.

#include "CPlatform.h"
#define STAVE_PROBE_SITES
#include "CPacketProbes.h"
