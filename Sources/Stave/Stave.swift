// SPDX-License-Identifier: BSD-2-Clause
//
// # Stave
//
// Stave for Swift: malloc types, and zones.
//
// A malloc type says what memory is for; `stave types PID` shows for each type, at any time and from outside, how many blocks and bytes are
// in use, how many were asked for, and of which sizes.
//
//     import Stave
//
//     extension MallocType {
//       static let images = MallocType("images", "decoded images")
//     }
//
//     let picture = try withMallocType(.images) { try decode(file) }   // whatever decode allocates
//     let buffer = MallocType.images.allocate(byteCount: 4096)         // one block
//
// For types this module brings no allocator. It finds the one that the process has: libstave.so, preloaded (`stave run`) or linked, or
// libstave.a. Under any other malloc everything works, and nothing is counted; `withMallocType` says so once.
//
// A zone is a cache of memory for values of one type (Zones/). Zones have a core of their own in the program, whatever its malloc is; it
// begins with the first zone.
//
//     Zone           memory, and owned items, for values that begin and end with each use
//     ObjectCache    objects that stay made between their uses; with a limit, a pool
//     HandleCache    handles of the author's own: descriptors, pointers, indexes
//     DeferredZone   values that are read without a lock (ReadSections)
//     PerCPUZone     values that every CPU has one of
//
// A pool (Pools/) is behind one lock and exact: a limit on what is in use, marks for its pages, pages that pools share. A PageSupply brings
// memory of the author's own to zones and pools.

internal import StaveC

/// Where Stave's functions are in this process.
enum Library {
  /// Nil without Stave. Looked for once, at the first use of a type.
  static let functions: stave_interface? = {
    var functions = stave_interface()
    return stave_find_interface(&functions) ? functions : nil
  }()

  /// One line on standard error, at the first reading.
  static let saysThatItIsMissing: Void = {
    let text = "stave: this process's malloc is not Stave, so withMallocType counts nothing; run it with `stave run`, or link libstave.a\n"
    write(text, to: 2)
  }()
}
