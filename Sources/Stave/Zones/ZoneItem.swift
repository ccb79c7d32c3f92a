// SPDX-License-Identifier: BSD-2-Clause
//
// An owned item: a value that lies in a zone, and returns there when its owner is done with it.

/// A value in memory of a ``Zone``, with one owner. At the end of its life the value is deinitialised and the memory freed.
///
///     let nodes = try Zone<Node>("nodes")
///     var node = nodes.item(Node(key: 1))!
///     node.value.key += 1            // in place
///     let moved = consume node       // moves 16 bytes, not the value
///
/// It does not keep the zone alive, and need not be freed by the thread that made it.
@frozen public struct ZoneItem<Element: ~Copyable>: ~Copyable {
  @usableFromInline let element: UnsafeMutablePointer<Element>
  @usableFromInline let home: HomePointer

  @inlinable @inline(__always)
  init(_ element: UnsafeMutablePointer<Element>, _ home: HomePointer) {
    self.element = element
    self.home = home
  }

  @inlinable @inline(__always)
  deinit {
    element.deinitialize(count: 1)
    home.free(UnsafeMutableRawPointer(element))
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
    home.free(UnsafeMutableRawPointer(element))
    discard self
    return value
  }

  /// The memory with its value, which is the caller's to deinitialise and to free, by ``Zone/free(_:)`` of the item's zone.
  @inlinable public consuming func release() -> UnsafeMutablePointer<Element> {
    let element = element
    discard self
    return element
  }

  /// Where the value lies, as long as the item lives: for C, and for what has to be told by its address.
  @inlinable public var address: UnsafeMutablePointer<Element> { element }
}

// One owner at a time, and a free may come from any thread: an item is as a value of its own.
extension ZoneItem: @unchecked Sendable where Element: Sendable & ~Copyable {}
