// SPDX-License-Identifier: BSD-2-Clause
//
// Requests of a pool: memory for who manages the life of values alone, and owned items, as a Zone has them.

extension Pool where Element: ~Copyable {
  /// Uninitialised memory for one value, zero if `request` says so; nil when there is none, or the limit is met, and the request does not
  /// wait. One lock. A request that does not wait gets nil also where none is free and another thread is fetching a page at that moment,
  /// however much memory there is: one that must have an item waits, and `setLowWater` or `prime` make it rare.
  ///
  /// ```swift
  /// let numbers = try Pool<Int>("numbers")
  /// if let number = numbers.allocate() {
  ///   number.initialize(to: 5)
  ///   numbers.free(number)
  /// }
  /// ```
  @inlinable
  public func allocate(_ request: PoolRequest = []) -> UnsafeMutablePointer<Element>? {
    core.get(request)?.assumingMemoryBound(to: Element.self)
  }

  /// Frees memory that this pool gave out; its value must have been deinitialised. Any thread. It wakes who waits, and may give a page
  /// back. What is none of the pool's, or is free already, ends the process with a report.
  @inlinable
  public func free(_ element: UnsafeMutablePointer<Element>) { core.put(UnsafeMutableRawPointer(element)) }

  /// A value in the pool; nil, and the value is gone, when there is no memory or the limit is met, and the request does not wait.
  @inlinable
  public func item(_ value: consuming Element, _ request: PoolRequest = []) -> PoolItem<Element>? {
    guard let element = allocate(request) else { return nil }
    element.initialize(to: value)
    return PoolItem(element, core)
  }

  /// The same for a value that is dear to make: `make` is called when there is memory for what it makes.
  ///
  /// ```swift
  /// let texts = try Pool<String>("texts")
  /// let text = texts.item { String(repeating: "-", count: 1000) }
  /// print(text?.value.count as Any)   // Optional(1000)
  /// ```
  @inlinable
  public func item<Failure: Error>(
    _ request: PoolRequest = [], make: () throws(Failure) -> Element
  ) throws(Failure) -> PoolItem<Element>? {
    guard let element = allocate(request) else { return nil }
    do {
      element.initialize(to: try make())
    } catch {
      free(element)
      throw error
    }
    return PoolItem(element, core)
  }

  /// A value in the pool, as soon as there is room for it. The task is suspended meanwhile and blocks no thread. Of tasks, the one that has
  /// waited longest is served first: one that comes while others wait stands behind them. Requests that wait in a thread, or do not wait,
  /// may come before it, as pool(9) has it. Where it throws the value is gone.
  ///
  /// ```swift
  /// let tokens = try Pool<Int>("tokens", limit: 2)
  /// let sum = try await withThrowingTaskGroup(of: Int.self) { group in
  ///   for number in 1...10 { group.addTask { try await tokens.itemWhenFree(number).value } }
  ///   return try await group.reduce(0, +)
  /// }
  /// print(sum)   // 55
  /// ```
  ///
  /// - Throws: ``ZoneError/cancelled`` if the task is cancelled before.
  public func itemWhenFree(_ value: consuming Element) async throws(ZoneError) -> PoolItem<Element> {
    let element = try await allocateWhenFree()
    element.initialize(to: value)
    return PoolItem(element, core)
  }

  /// Memory for one value, as ``itemWhenFree(_:)`` has it.
  public func allocateWhenFree() async throws(ZoneError) -> UnsafeMutablePointer<Element> {
    try await core.getInTurn().assumingMemoryBound(to: Element.self)
  }

  /// Makes an owned item again of memory that ``PoolItem/release()`` gave out, or of memory of this pool that has been initialised. Nothing
  /// is checked: each element may be adopted once, by the pool that it came from.
  @inlinable
  public func adopt(_ element: UnsafeMutablePointer<Element>) -> PoolItem<Element> { PoolItem(element, core) }
}

/// A value in memory of a ``Pool``, with one owner, which keeps the pool alive. At the end of its life the value is deinitialised and the
/// memory freed, in whatever thread that is.
///
/// ```swift
/// let points = try Pool<(x: Int, y: Int)>("points")
/// if var point = points.item((x: 1, y: 2)) {
///   point.value.x += 1      // in place
///   print(point.take())      // (x: 2, y: 2)
/// }
/// ```
@frozen public struct PoolItem<Element: ~Copyable>: ~Copyable {
  @usableFromInline let element: UnsafeMutablePointer<Element>
  /// Retained.
  @usableFromInline let core: Unmanaged<PoolCore>

  @inlinable
  init(_ element: UnsafeMutablePointer<Element>, _ core: PoolCore) {
    self.element = element
    self.core = Unmanaged.passRetained(core)
  }

  @inlinable
  deinit {
    element.deinitialize(count: 1)
    core.takeRetainedValue().put(UnsafeMutableRawPointer(element))
  }

  /// The value where it lies: read and changed without a copy.
  @inlinable public var value: Element {
    unsafeAddress { UnsafePointer(element) }
    unsafeMutableAddress { element }
  }

  /// Calls `body` with the value where it lies.
  @inlinable public func borrow<Result: ~Copyable, Failure: Error>(
    _ body: (borrowing Element) throws(Failure) -> Result
  ) throws(Failure) -> Result { try body(element.pointee) }

  /// Calls `body` with the value where it lies, to be changed.
  @inlinable public mutating func update<Result: ~Copyable, Failure: Error>(
    _ body: (inout Element) throws(Failure) -> Result
  ) throws(Failure) -> Result { try body(&element.pointee) }

  /// The value; the memory is freed.
  @inlinable public consuming func take() -> Element {
    let value = element.move()
    let (element, core) = (element, core)
    discard self
    core.takeRetainedValue().put(UnsafeMutableRawPointer(element))
    return value
  }

  /// The memory with its value, which is the caller's to deinitialise and to free, by ``Pool/free(_:)`` of the item's pool. It does not
  /// keep the pool.
  @inlinable public consuming func release() -> UnsafeMutablePointer<Element> {
    let (element, core) = (element, core)
    discard self
    core.release()
    return element
  }

  /// Where the value lies, as long as the item lives.
  @inlinable public var address: UnsafeMutablePointer<Element> { element }
}

// One owner at a time, and a free may come from any thread: an item is as a value of its own.
extension PoolItem: @unchecked Sendable where Element: Sendable & ~Copyable {}
