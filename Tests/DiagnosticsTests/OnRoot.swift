// SPDX-License-Identifier: BSD-2-Clause
//
// The parent of this target's suites that touch the root.

import Testing

@testable import TestSupport

@Suite(.serialized, .rootTurn) enum OnRoot {}
