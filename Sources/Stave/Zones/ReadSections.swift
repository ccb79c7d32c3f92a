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

  /// Calls `body` in a section: what it finds stays as it is until it returns. Sections nest. No lock, no waiting; 1.3 ns, and in a
  /// thread's first section a search for a place. `body` is not asynchronous, since a section belongs to a thread.
  @inlinable @inline(__always)
  public func read<Result: ~Copyable, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    if !stave_section_enter(context) { enterFirst() }
    defer { if !stave_section_exit(context) { exitLast() } }
    return try body()
  }

  @inline(never) @usableFromInline func enterFirst() { context.enter() }
  @inline(never) @usableFromInline func exitLast() { context.exit() }

  /// Waits until all sections begun before the call have ended; true then. False inside a section (reported), or if membarrier(2) is
  /// refused.
  @discardableResult
  public func waitForReaders() -> Bool { context.synchronize() }
}
