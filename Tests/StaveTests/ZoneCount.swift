// SPDX-License-Identifier: BSD-2-Clause
//
// How many zones there are, those of Stave itself among them, and how many back-ends of pools: what has been given up and ended is none of
// them any more.

@testable import Zones

/// Read where no other thread makes or ends one.
var zoneCount: Int { Int(zones.pointee.zoneCount) }

/// Back-ends of pools, the one that is shared among them.
var backEndCount: Int { zones.pointee.pools.allocatorKeg?.outstanding ?? 0 }
