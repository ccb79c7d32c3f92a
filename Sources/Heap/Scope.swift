// SPDX-License-Identifier: BSD-2-Clause
//
// Scopes: whatever a thread asks malloc for while it is in one is of the scope's type, be it a program's own, a library's or a
// language's runtime's. The thread's word (CPlatform/stave_thread.h) says which; it points to the author's structure, so that a type
// that has ended in the meantime is none.
//
// malloc's first try does not look at that word. The first scope of a process closes it, as `types:library` does, and it stays
// closed: from then on each request goes one step further, to where the word is read, and takes from there the same caches as
// before. Documentation/Decisions.md has the figures.
//
// Cost: a scope is two stores. In a child of fork a thread is in the scope that it was in; a new thread is in none.

import Accounting
import CPlatform
import Primitives
import Synchronization

extension Heap {
  /// Whether malloc asks more than the size.
  @inline(__always)
  public static var looksAtRequests: Bool { stave_hot().pointee.scopes != 0 || countsForCallers }

  /// The type of this thread's scope; nil outside.
  @inline(__always)
  static var scope: TypePointer? { stave_thread_type()?.pointee.internals?.assumingMemoryBound(to: TypeRecord.self) }

  /// From here on this thread's memory is of `author`'s type, which is registered; with nil, without a scope. Returns what it was
  /// before. Takes no lock.
  @inline(__always)
  public static func enterScope(_ author: UnsafeMutablePointer<stave_type>?) -> UnsafeMutablePointer<stave_type>? {
    let before = stave_thread_type()
    if stave_hot().pointee.scopes == 0 && author != nil { openScopes() }
    stave_set_thread_type(author)
    return before
  }

  @inline(__always)
  public static func leaveScope(to before: UnsafeMutablePointer<stave_type>?) { stave_set_thread_type(before) }

  @inline(never)
  private static func openScopes() {
    guard heap.pointee.freeElsewhere == nil else { return sayOnce() }
    stave_hot().pointee.scopes = 1
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    heap.openFastPath()
  }

  private static func sayOnce() {
    guard stave_claim(&stave_hot().pointee.scopes_refused) else { return }
    var report = Report("malloc types")
    report.text("this process's malloc is another: what is allocated in a scope has no type\n")
    report.write()
  }
}
