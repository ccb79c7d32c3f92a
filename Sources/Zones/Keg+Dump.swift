// SPDX-License-Identifier: BSD-2-Clause
//
// Pages that are in no core dump: said to the kernel when a keg with `noDump` gets them, and taken back before their source, which may
// give them to others, does.

import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  /// False if the kernel does not promise it: then nothing may lie there.
  func hideFromDumps(_ start: UnsafeMutableRawPointer) -> Bool {
    !pointee.flags.contains(.noDump) || stave_madvise(start.address, pointee.layout.slabBytes, 16 /* MADV_DONTDUMP */) == 0
  }

  func showInDumps(_ start: UnsafeMutableRawPointer) {
    if pointee.flags.contains(.noDump) { _ = stave_madvise(start.address, pointee.layout.slabBytes, 17 /* MADV_DODUMP */) }
  }
}
