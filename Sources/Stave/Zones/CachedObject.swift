// SPDX-License-Identifier: BSD-2-Clause
//
// An object of a cache while it is in use.

/// An object of an ``ObjectCache``, with one owner. At the end of its life it is reset and goes back to the cache.
///
///     let pool = try ObjectCache<Connection>("connections", limit: 4) { Connection() }
///     var connection = try await pool.objectWhenFree()
///     let answer = connection.value.ask("what time is it")
///     if connection.value.isBroken { connection.discard() }
public struct CachedObject<Object: ~Copyable & Sendable>: ~Copyable, @unchecked Sendable {
  // The cache's home keeps the resetter for as long as objects are out.
  @usableFromInline let object: UnsafeMutablePointer<Object>
  @usableFromInline let home: HomePointer
  @usableFromInline unowned(unsafe) let resetter: ObjectResetter<Object>

  @inlinable @inline(__always)
  init(_ object: UnsafeMutablePointer<Object>, _ home: HomePointer, _ resetter: ObjectResetter<Object>) {
    self.object = object
    self.home = home
    self.resetter = resetter
  }

  @inlinable @inline(__always)
  deinit {
    if let reset = resetter.reset { reset(&object.pointee) }
    let item = UnsafeMutableRawPointer(object)
    if !HomePointer.push(home.pointee.core, home.pointee.cell, item) { resetter.freeSlow(item, home) }
  }

  /// The object where it lies: read and changed without a copy.
  @inlinable public var value: Object {
    unsafeAddress { UnsafePointer(object) }
    unsafeMutableAddress { object }
  }

  /// Ends the object, which is not used again: a broken connection. Under a limit there is room for another then.
  public consuming func discard() {
    let (object, home, resetter) = (object, home, resetter)
    discard self
    resetter.source.discard(UnsafeMutableRawPointer(object), home)
  }
}
