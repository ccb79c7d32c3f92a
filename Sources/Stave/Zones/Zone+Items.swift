// SPDX-License-Identifier: BSD-2-Clause
//
// Owned items: values that lie in the zone and return their memory themselves.

extension Zone where Element: ~Copyable {
  /// A value in the zone; nil, if the request does not wait, when there is no memory or the limit is met, and the value is deinitialised.
  @inlinable @inline(__always)
  public func item(_ value: consuming Element, _ request: ZoneRequest = []) -> ZoneItem<Element>? {
    guard let element = allocate(request) else { return nil }
    element.initialize(to: value)
    return ZoneItem(element, home)
  }

  /// The same for a value that is expensive to make: `make` is called only when there is memory for the value.
  ///
  ///     let lists = try Zone<[String]>("lists")
  ///     let words = try lists.item { try decode(text) }
  @inlinable
  public func item<Failure: Error>(
    _ request: ZoneRequest = [], make: () throws(Failure) -> Element
  ) throws(Failure) -> ZoneItem<Element>? {
    guard let element = allocate(request) else { return nil }
    do {
      element.initialize(to: try make())
    } catch {
      free(element)
      throw error
    }
    return ZoneItem(element, home)
  }

  /// Calls `body` with a value that lies in the zone during the call; nil, without calling it, when there is no memory or the limit is met
  /// and the request does not wait.
  @inlinable
  public func withItem<Result: ~Copyable, Failure: Error>(
    _ value: consuming Element, _ request: ZoneRequest = [], _ body: (inout Element) throws(Failure) -> Result
  ) throws(Failure) -> Result? {
    guard let element = allocate(request) else { return nil }
    element.initialize(to: value)
    defer {
      element.deinitialize(count: 1)
      free(element)
    }
    return try body(&element.pointee)
  }

  /// Makes an owned item again of memory that ``ZoneItem/release()`` gave out, or of memory of this zone, from ``allocate(_:)``, that has
  /// been initialised. Nothing is checked: each element may be adopted once, by the zone that it came from.
  @inlinable
  public func adopt(_ element: UnsafeMutablePointer<Element>) -> ZoneItem<Element> { ZoneItem(element, home) }
}
