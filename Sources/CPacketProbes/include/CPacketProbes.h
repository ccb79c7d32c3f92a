// SPDX-License-Identifier: BSD-2-Clause
//
// The probes of packet buffers: a target of their own, so that what has no packet buffers, as libstave.so, has none of their notes either.

#ifndef CPACKETPROBES_H
#define CPACKETPROBES_H

#include "CPlatform.h"

#include "stave_packet_probes.h"

#endif
