// SPDX-License-Identifier: BSD-2-Clause
//
// Where an object cache's objects come from and go to: the functions that the core's zone calls with this as their context. Objects lie in
// memory of a zone below.

internal import Zones

class ObjectSource {
  /// Makes up to `count` objects; how many.
  func make(_ store: UnsafeMutablePointer<UInt>, _ count: Int, mayWait: Bool) -> Int { 0 }
  /// Ends them.
  func end(_ store: UnsafeMutablePointer<UInt>, _ count: Int) {}

  static let importItems: ItemImport = { argument, store, count, wait in
    of(argument!).make(store, count, mayWait: WaitFlags(rawValue: wait).maySleep)
  }
  static let releaseItems: ItemRelease = { argument, store, count in of(argument!).end(store, count) }

  private static func of(_ argument: UnsafeMutableRawPointer) -> ObjectSource { Unmanaged.fromOpaque(argument).takeUnretainedValue() }
}

final class TypedObjectSource<Object: ~Copyable & Sendable>: ObjectSource {
  let memory: Zone<Object>
  private let makeObject: @Sendable () -> Object?

  init(_ memory: Zone<Object>, _ make: @escaping @Sendable () -> Object?) {
    self.memory = memory
    makeObject = make
  }

  override func make(_ store: UnsafeMutablePointer<UInt>, _ count: Int, mayWait: Bool) -> Int {
    // One at a time: objects are dear, and who asks for one has no use for others.
    guard count > 0, let place = memory.allocate(mayWait ? .wait : []) else { return 0 }
    guard let object = makeObject() else {
      memory.free(place)
      return 0
    }
    place.initialize(to: object)
    store[0] = UInt(bitPattern: place)
    return 1
  }

  override func end(_ store: UnsafeMutablePointer<UInt>, _ count: Int) {
    for index in 0..<count {
      let place = UnsafeMutablePointer<Object>(bitPattern: store[index])!
      place.deinitialize(count: 1)
      memory.free(place)
    }
  }
}
