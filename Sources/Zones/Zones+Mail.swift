// SPDX-License-Identifier: BSD-2-Clause
//
// Who asks this process for something from outside rings a bell (Pages/Mailbox). Where the core serves a program's own zones, and not
// malloc, requests and frees that no cell serves hear it, and pools' all: one load each. The answer is the heap's.

import CPlatform
import Primitives

/// Has a letter answered if somebody rings. Called without any lock of ours; of its author's some may be held at a free, and at a request
/// that may not wait: then nothing that the answer gives back runs an author's code.
@inline(__always)
func hearBell(mayRunHooks: Bool) {
  if stave_is_rung() { answerBell(mayRunHooks) }
}

@inline(never)
private func answerBell(_ mayRunHooks: Bool) { zones.pointee.answerBell?(mayRunHooks) }
