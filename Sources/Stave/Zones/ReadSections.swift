// SPDX-License-Identifier: BSD-2-Clause
//
// Reading without a lock: sections in which nothing that is found is reused. The core's safe memory reclamation (Zones/SMR).

public import CPlatform
internal import Heap
internal import Own
internal import Zones

/// What the readers and writers of one structure share. Readers walk the structure in sections, without a lock; writers take parts out of
/// it and free them to a ``DeferredZone``, which reuses them when every reader that may have seen them has left.
///
///     let sections = try ReadSections()
///     let nodes = try DeferredZone<Node>("nodes", readers: sections)
///     let newest = Atomic(nodes.allocate(Node(key: 1)))
///     // Any number of threads:
///     let key = sections.read { newest.load(ordering: .acquiring)?.pointee.key }
///     // A writer; whoever reads the old one still may:
///     let next = nodes.allocate(Node(key: 2))
///     if let old = newest.exchange(next, ordering: .acquiringAndReleasing) { nodes.free(old) }
public final class ReadSections: @unchecked Sendable {
  @usableFromInline let context: UnsafeMutablePointer<stave_smr>

  /// 2 MiB of addresses, of which a page is used for 64 threads.
  public init() throws(ZoneError) {
    guard Heap.startOwn(), let context = makeSMR() else { throw .outOfMemory }
    self.context = context
  }

  // Each zone keeps the sections that it waits for.
  deinit { context.destroy() }

  /// Calls `body` in a section: what it finds stays what it is until it returns. Sections nest. No lock, no waiting; 1.3 ns, and at a
  /// thread's first section the search for a place. Not asynchronous: a section belongs to a thread.
  @inlinable @inline(__always)
  public func read<Result: ~Copyable, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    if !stave_section_enter(context) { enterFirst() }
    defer { if !stave_section_exit(context) { exitLast() } }
    return try body()
  }

  @inline(never) @usableFromInline func enterFirst() { context.enter() }
  @inline(never) @usableFromInline func exitLast() { context.exit() }

  /// Waits until all sections that had begun before the call have ended. Not in a section: that is reported, and false, as it is where the
  /// system refuses membarrier(2).
  @discardableResult
  public func waitForReaders() -> Bool { context.synchronize() }
}
