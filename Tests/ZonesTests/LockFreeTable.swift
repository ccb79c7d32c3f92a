// SPDX-License-Identifier: BSD-2-Clause
//
// A hash table whose readers take no lock, on a zone with deferred reuse: what such a zone is for. Writers take a lock of their chain,
// never change a node that can be reached but for its link, and free what they have unlinked at once. A reader walks within a section;
// whatever it comes upon stays what it was found to be until the section ends, unlinked or not. The destructor writes over what a node
// says of itself, so that a reader who comes too late would notice.

import CPlatform
import Foundation

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

struct LockFreeTable: @unchecked Sendable {
  /// A node's words.
  struct Node {
    let place: UnsafeMutableRawPointer

    static let bytes = 64
    var key: UInt64 { place.load(fromByteOffset: 8, as: UInt64.self) }
    var version: UInt64 { place.load(fromByteOffset: 16, as: UInt64.self) }
    var link: UnsafeMutableRawPointer { place + 24 }
    var next: Node? { Node(at: link) }

    init(_ place: UnsafeMutableRawPointer) { self.place = place }
    /// What a link leads to.
    init?(at link: UnsafeMutableRawPointer) {
      guard let place = UnsafeMutableRawPointer(bitPattern: UInt(stave_load64(link))) else { return nil }
      self.place = place
    }

    /// Of its address and content, so that a node that is another's, or has been destructed, does not pass for this one.
    private var seal: UInt64 { UInt64(place.address) &* 0x9e37_79b9_7f4a_7c15 ^ key &* 31 ^ version &* 0xd134_2543_de82_ef95 }
    var isWhole: Bool { place.load(as: UInt64.self) == seal && place.load(fromByteOffset: 56, as: UInt64.self) == ~seal }

    func write(key: UInt64, version: UInt64, next: Node?) {
      place.storeBytes(of: key, toByteOffset: 8, as: UInt64.self)
      place.storeBytes(of: version, toByteOffset: 16, as: UInt64.self)
      place.storeBytes(of: UInt64(next?.place.address ?? 0), toByteOffset: 24, as: UInt64.self)
      place.storeBytes(of: seal, as: UInt64.self)
      place.storeBytes(of: ~seal, toByteOffset: 56, as: UInt64.self)
    }
  }

  let zone: ZonePointer
  let chains: UnsafeMutablePointer<UInt64>
  let locks: [NSLock]

  init(chains count: Int, zone: ZonePointer) {
    self.zone = zone
    chains = .allocate(capacity: count)
    chains.initialize(repeating: 0, count: count)
    locks = (0..<count).map { _ in NSLock() }
  }

  static let destructor: Destructor = { item, size, _ in
    item.initializeMemory(as: UInt8.self, repeating: 0xdb, count: size)
  }

  private func head(_ key: UInt64) -> UnsafeMutableRawPointer { UnsafeMutableRawPointer(chains + Int(key) % locks.count) }

  /// The node of a key, nil if there is none, or, with `isDamaged`, if the walk came upon one that is none any more. In a section.
  func find(_ key: UInt64, _ isDamaged: inout Bool) -> Node? {
    var next = Node(at: head(key))
    while let node = next {
      guard node.isWhole else {
        isDamaged = true
        return nil
      }
      if node.key == key { return node }
      next = node.next
    }
    return nil
  }

  /// Puts a version in the place of the one that is there, nil to take it out. False if memory is not to be had.
  @discardableResult
  func put(_ key: UInt64, _ version: UInt64?) -> Bool {
    let lock = locks[Int(key) % locks.count]
    lock.lock()
    var link = head(key)
    while let node = Node(at: link), node.key != key { link = node.link }
    let old = Node(at: link)
    if let version {
      guard let place = zone.allocateSMR() else {
        lock.unlock()
        return false
      }
      Node(place).write(key: key, version: version, next: old?.next)
      stave_store64(link, UInt64(place.address))
    } else {
      stave_store64(link, UInt64(old?.next?.place.address ?? 0))
    }
    lock.unlock()
    zone.freeSMR(old?.place)
    return true
  }

  /// Nobody else uses it any more.
  func empty() {
    for chain in locks.indices {
      while let node = Node(at: UnsafeMutableRawPointer(chains + chain)) { put(node.key, nil) }
    }
  }
}
