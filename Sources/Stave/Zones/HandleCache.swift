// SPDX-License-Identifier: BSD-2-Clause
//
// Handles of what the author has: the caches of a zone without its slabs (Zones/Zone+CacheOnly). What is cached is the handle itself.
//
//           importing                take, handle
//   author ───────────►  CPU's cache ────────────►  in use
//          ◄───────────              ◄────────────
//           releasing                 put, the end of a CachedHandle

internal import Zones

/// Per-CPU caches of an author's handles: pointers into memory of a device, file descriptors, indexes of a table. They come by
/// `importing`, up to a bucketful at a time, and go back by `releasing`; in between threads take and put them without a lock.
///
/// ```swift
/// let blocks = try HandleCache<UnsafeMutablePointer<UInt8>>("blocks") { room, _ in
///   for index in room.indices { room[index] = .allocate(capacity: 4096) }
///   return room.count
/// } releasing: { blocks in
///   for block in blocks { block.deallocate() }
/// }
/// if let block = blocks.handle() {
///   block.value[0] = 1
/// }                             // back in the cache
/// ```
///
/// A handle is up to eight bytes that can be copied as such, and is not all zero if it is eight bytes. Values that are larger, or have a
/// deinitialiser, are ``ObjectCache``'s.
///
/// **Each handle is another one**, as descriptors and pointers are: of two that are equal one may be out or cached at a time. Equal ones
/// look like one that is put back twice, and end the process with a report that names the handle. Permits that are all alike are a
/// ``Pool``'s with a limit.
public final class HandleCache<Handle: BitwiseCopyable>: AnyZone, @unchecked Sendable {
  /// A new cache, empty.
  ///
  /// - Parameters:
  ///   - name: What the tools show: of its UTF-8, 31 bytes.
  ///   - limit: How many handles there may be, in use and cached; 0 for any number. With a limit they are imported one at a time.
  ///   - flags: ``ZoneFlags/largestCaches``, ``ZoneFlags/noCaches`` and ``ZoneFlags/keepsCaches`` are possible.
  ///   - importing: Writes up to `room.count` handles from the beginning of `room`, and says how many; 0 refuses the request. None of them
  ///     equals one that has not been released. In the thread that asks, several at a time. It may block only if `mayWait`, and may not ask
  ///     this cache.
  ///   - releasing: Takes handles back for good. In any thread; it may not block, or ask this cache.
  /// - Throws: ``ZoneError/impossible`` for handles of more than eight bytes and for other flags, ``ZoneError/outOfMemory``.
  public init(
    _ name: String, limit: Int = 0, flags: ZoneFlags = [],
    importing: @escaping @Sendable (_ room: UnsafeMutableBufferPointer<Handle>, _ mayWait: Bool) -> Int,
    releasing: @escaping @Sendable (_ handles: UnsafeBufferPointer<Handle>) -> Void
  ) throws(ZoneError) {
    let known: ZoneFlags = [.largestCaches, .noCaches, .keepsCaches]
    guard 1...8 ~= MemoryLayout<Handle>.size, flags.isSubset(of: known) else { throw .impossible }
    let source = TypedHandleSource(importing, releasing)
    let core = try makeCore(UInt.self, name, []) { name, _, _ in
      makeCacheOnlyZone(
        name: name, size: MemoryLayout<Handle>.size, flags: flags.core, argument: Unmanaged.passUnretained(source).toOpaque(),
        importItems: HandleSource.importItems, releaseItems: HandleSource.releaseItems)
    }
    super.init(core, companion: source)
    if limit > 0 { core.setLimit(limit) }
  }

  /// A handle; nil when `importing` has none, or at the limit if the request does not wait. A cached one costs some twenty instructions.
  /// It is the caller's to ``put(_:)``.
  @inlinable @inline(__always)
  public func take(_ request: ZoneRequest = []) -> Handle? {
    (HomePointer.pop(core, cell) ?? takeSlow(request)).map { HandleWord.handle(of: $0) }
  }

  /// Takes a handle back: one that was taken here and is not used any more. Never waits. Only a second put of the same handle, or of an
  /// equal one, with nothing in between is noticed: the process ends with a report then.
  @inlinable @inline(__always)
  public func put(_ handle: Handle) { home.free(HandleWord.word(of: handle)) }

  /// A handle with an owner, which puts it back at the end of its life.
  @inlinable @inline(__always)
  public func handle(_ request: ZoneRequest = []) -> CachedHandle<Handle>? {
    guard let word = HomePointer.pop(core, cell) ?? takeSlow(request) else { return nil }
    return CachedHandle(word, home)
  }

  /// A handle with an owner; at the limit, when it is this task's turn: tasks and threads that wait are served in the order in which
  /// they came. A handle that was already in another CPU's cache is found by looking again: after 10 ms, then ever more rarely, up to
  /// once a second.
  ///
  /// ```swift
  /// let files = try HandleCache<Int32>("files", limit: 3) { room, _ in
  ///   room[0] = open("/dev/null", O_RDONLY)
  ///   return room[0] < 0 ? 0 : 1
  /// } releasing: { files in
  ///   for file in files { close(file) }
  /// }
  /// let file = try await files.handleWhenFree()
  /// print(file.value >= 0)   // true
  /// ```
  ///
  /// - Throws: ``ZoneError/cancelled`` if the task is cancelled before its turn, ``ZoneError/outOfMemory`` if `importing` has none.
  public func handleWhenFree() async throws(ZoneError) -> CachedHandle<Handle> { CachedHandle(try await itemInTurn(), home) }

  @inline(never) @usableFromInline
  func takeSlow(_ request: ZoneRequest) -> UnsafeMutableRawPointer? { core.allocate(request.subtracting(.zero).core) }
}

/// A handle of a ``HandleCache`` while it is in use, with one owner. At the end of its life it goes back to the cache.
///
/// ```swift
/// let next = Atomic<Int16>(0)
/// let tickets = try HandleCache<Int16>("tickets") { room, _ in
///   room[0] = next.wrappingAdd(1, ordering: .relaxed).newValue
///   return 1
/// } releasing: { _ in }
/// if let ticket = tickets.handle() {
///   print(ticket.value, tickets.itemsInUse)   // 1 1
/// }
/// print(tickets.itemsInUse)                   // 0
/// ```
///
/// It does not keep the cache alive, and need not end in the thread that took it.
@frozen public struct CachedHandle<Handle: BitwiseCopyable>: ~Copyable, @unchecked Sendable {
  // Unchecked: as the cache's closures, whoever uses a handle says what threads may do with what it stands for.
  @usableFromInline let word: UnsafeMutableRawPointer
  @usableFromInline let home: HomePointer

  @inlinable @inline(__always)
  init(_ word: UnsafeMutableRawPointer, _ home: HomePointer) {
    self.word = word
    self.home = home
  }

  @inlinable @inline(__always)
  deinit { home.free(word) }

  /// The handle.
  @inlinable public var value: Handle { HandleWord.handle(of: word) }

  /// The handle, which is the caller's to give back by ``HandleCache/put(_:)``.
  @inlinable public consuming func release() -> Handle {
    let word = word
    discard self
    return HandleWord.handle(of: word)
  }
}

/// Handles as caches hold them: words that are not 0. Below eight bytes a bit says so that no address has.
@usableFromInline enum HandleWord {
  @inlinable @inline(__always)
  static func word<Handle: BitwiseCopyable>(of handle: Handle) -> UnsafeMutableRawPointer {
    var word: UInt = 0
    withUnsafeBytes(of: handle) { bytes in withUnsafeMutableBytes(of: &word) { $0.copyMemory(from: bytes) } }
    if MemoryLayout<Handle>.size < 8 { word |= 1 << 62 }
    precondition(word != 0, "a handle of eight bytes that is zero")
    return UnsafeMutableRawPointer(bitPattern: word)!
  }

  @inlinable @inline(__always)
  static func handle<Handle: BitwiseCopyable>(of word: UnsafeMutableRawPointer) -> Handle {
    withUnsafeBytes(of: UInt(bitPattern: word)) { $0.loadUnaligned(as: Handle.self) }
  }
}

/// What the core's zone has for a context.
private class HandleSource: @unchecked Sendable {
  func bring(_ store: UnsafeMutablePointer<UInt>, _ count: Int, mayWait: Bool) -> Int { 0 }
  func takeBack(_ store: UnsafeMutablePointer<UInt>, _ count: Int) {}

  static let importItems: ItemImport = { argument, store, count, wait in
    of(argument!).bring(store, count, mayWait: WaitFlags(rawValue: wait).maySleep)
  }
  static let releaseItems: ItemRelease = { argument, store, count in of(argument!).takeBack(store, count) }

  private static func of(_ argument: UnsafeMutableRawPointer) -> HandleSource { Unmanaged.fromOpaque(argument).takeUnretainedValue() }
}

private final class TypedHandleSource<Handle: BitwiseCopyable>: HandleSource, @unchecked Sendable {
  private let importing: @Sendable (UnsafeMutableBufferPointer<Handle>, Bool) -> Int
  private let releasing: @Sendable (UnsafeBufferPointer<Handle>) -> Void

  init(
    _ importing: @escaping @Sendable (UnsafeMutableBufferPointer<Handle>, Bool) -> Int,
    _ releasing: @escaping @Sendable (UnsafeBufferPointer<Handle>) -> Void
  ) {
    self.importing = importing
    self.releasing = releasing
  }

  override func bring(_ store: UnsafeMutablePointer<UInt>, _ count: Int, mayWait: Bool) -> Int {
    withUnsafeTemporaryAllocation(of: Handle.self, capacity: count) { room in
      let brought = max(0, min(count, importing(room, mayWait)))
      for index in 0..<brought { store[index] = UInt(bitPattern: HandleWord.word(of: room[index])) }
      return brought
    }
  }

  override func takeBack(_ store: UnsafeMutablePointer<UInt>, _ count: Int) {
    withUnsafeTemporaryAllocation(of: Handle.self, capacity: count) { room in
      for index in 0..<count {
        room.initializeElement(at: index, to: HandleWord.handle(of: UnsafeMutableRawPointer(bitPattern: store[index])!))
      }
      releasing(UnsafeBufferPointer(room))
    }
  }
}
