// SPDX-License-Identifier: BSD-2-Clause
//
// The layouts that stave_mbuf.h shows are those of PacketBuffers.

#include "stave_zone.h"
#include "stave_pool.h"
#include "stave_mbuf.h"

_Static_assert(sizeof(struct stave_zone_stat) == 7 * 8, "ZoneStatistics");
_Static_assert(sizeof(struct stave_pool_stat) == 12 * 8, "PoolCounts");
_Static_assert(sizeof(struct stave_mbuf_stat) == 36 * 8, "PacketCounts");
_Static_assert(sizeof(struct stave_pkthdr) == 56, "PacketHeader");
_Static_assert(sizeof(struct stave_m_tag) == 24, "PacketTag");
_Static_assert(sizeof(struct stave_m_uio) == 24, "Transfer");
_Static_assert(sizeof(struct stave_mbufq) == 32, "PacketQueue");
