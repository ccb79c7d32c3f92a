// SPDX-License-Identifier: BSD-2-Clause
//
// Where an object cache's objects come from and go to: the functions that the core's zone calls with this as their context. Objects lie in
// memory of a zone below.

internal import Synchronization
internal import Zones

class ObjectSource: @unchecked Sendable {
  /// Makes up to `count` objects; how many.
  func make(_ store: UnsafeMutablePointer<UInt>, _ count: Int, mayWait: Bool) -> Int { 0 }
  /// Ends them.
  func end(_ store: UnsafeMutablePointer<UInt>, _ count: Int) {}
  /// Frees an object on the slow path: it stays for another use.
  func free(_ object: UnsafeMutableRawPointer, _ home: HomePointer) {}
  /// Frees an object, which ends.
  func discard(_ object: UnsafeMutableRawPointer, _ home: HomePointer) {}
  /// Objects that are neither in use nor in the core's caches.
  var keptObjects: Int { 0 }
  func endKept() {}
  /// Ends them as long as there are more objects than `limit`, in use or not.
  func endKept(above limit: Int) {}

  static let importItems: ItemImport = { argument, store, count, wait in
    of(argument!).make(store, count, mayWait: WaitFlags(rawValue: wait).maySleep)
  }
  static let releaseItems: ItemRelease = { argument, store, count in of(argument!).end(store, count) }

  private static func of(_ argument: UnsafeMutableRawPointer) -> ObjectSource { Unmanaged.fromOpaque(argument).takeUnretainedValue() }
}

/// Objects that are neither in use nor in the core's caches, by their addresses.
private struct Aside {
  /// Freed, and kept for whoever asks next. Under a small limit the core caches little or nothing, and while somebody waits a free goes
  /// round its caches: as far as the core knows the object is no more, and the next request has another made.
  var kept: [UInt] = []
  /// On their way through the core's free at this moment: what goes round the caches is kept.
  var returning: [UInt] = []
  /// The same, but to be ended.
  var discarded: [UInt] = []
  /// All objects that there are.
  var living = 0
}

final class TypedObjectSource<Object: ~Copyable & Sendable>: ObjectSource, @unchecked Sendable {
  private typealias Place = UnsafeMutablePointer<Object>

  let memory: Zone<Object>
  private let makeObject: @Sendable () -> Object?
  private let aside = Mutex(Aside())
  /// Of the cache.
  var core: ZonePointer?

  init(_ memory: Zone<Object>, _ make: @escaping @Sendable () -> Object?) {
    self.memory = memory
    makeObject = make
  }

  deinit { endKept() }

  override func make(_ store: UnsafeMutablePointer<UInt>, _ count: Int, mayWait: Bool) -> Int {
    guard count > 0 else { return 0 }
    if let kept = aside.withLock({ $0.kept.popLast() }) {
      store[0] = kept
      return 1
    }
    // One at a time: objects are dear, and who asks for one has no use for others.
    guard let place = memory.allocate(mayWait ? .wait : []) else { return 0 }
    guard let object = makeObject() else {
      memory.free(place)
      return 0
    }
    place.initialize(to: object)
    aside.withLock { $0.living += 1 }
    store[0] = UInt(bitPattern: place)
    return 1
  }

  override func end(_ store: UnsafeMutablePointer<UInt>, _ count: Int) {
    // Who waits has the caches emptied, to get what they hold.
    let isWaitedFor = core?.isWaitedFor ?? false, limit = core?.limit ?? 0
    for index in 0..<count {
      let address = store[index]
      let isKept = aside.withLock { aside in
        let isWanted = !aside.discarded.contains(address) && (isWaitedFor || aside.returning.contains(address))
        let isKept = isWanted && (limit == 0 || aside.living <= limit)
        if isKept { aside.kept.append(address) } else { aside.living -= 1 }
        return isKept
      }
      if !isKept { end(address) }
    }
  }

  override func free(_ object: UnsafeMutableRawPointer, _ home: HomePointer) {
    let address = UInt(bitPattern: object)
    aside.withLock { $0.returning.append(address) }
    home.whileBusy {
      $0.free(object)
      aside.withLock { aside in _ = aside.returning.remove(at: aside.returning.firstIndex(of: address)!) }
    }
  }

  override func discard(_ object: UnsafeMutableRawPointer, _ home: HomePointer) {
    let address = UInt(bitPattern: object)
    aside.withLock { $0.discarded.append(address) }
    home.whileBusy {
      $0.freeRoundCells(object)
      aside.withLock { aside in _ = aside.discarded.remove(at: aside.discarded.firstIndex(of: address)!) }
    }
  }

  override var keptObjects: Int { aside.withLock { $0.kept.count } }

  override func endKept() {
    let addresses = aside.withLock { aside in
      defer { aside.kept = [] }
      aside.living -= aside.kept.count
      return aside.kept
    }
    for address in addresses { end(address) }
  }

  override func endKept(above limit: Int) {
    while let address = aside.withLock({ aside in
      guard aside.living > limit, let address = aside.kept.popLast() else { return UInt?.none }
      aside.living -= 1
      return address
    }) { end(address) }
  }

  private func end(_ address: UInt) {
    let place = Place(bitPattern: address)!
    place.deinitialize(count: 1)
    memory.free(place)
  }
}
