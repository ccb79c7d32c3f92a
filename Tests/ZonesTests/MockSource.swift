// SPDX-License-Identifier: BSD-2-Clause
//
// A page source that counts, refuses and can be watched. Its pages are the arena's, so every way of finding a slab works.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

final class MockSource {
  /// Over what threads count and look at together, in here.
  private let lock = NSLock()
  var allocations = 0
  var frees = 0
  var bytesOut = 0
  /// Refuses the call of this number (1 is the next), then works again.
  var refuseAt = 0
  var isRefusing: Bool {
    get { lock.withLock { refuses } }
    set { lock.withLock { refuses = newValue } }
  }
  private var refuses = false
  /// Serves only who may wait.
  var wantsPatience = false
  var lastWait: Int32 = 0
  /// A call came in while one of our locks was held.
  var sawLock = false
  var onAllocate: (() -> Void)?
  var onFree: (() -> Void)?
  /// Memory comes dirty.
  var dirt: UInt8?

  /// What the slabs at these addresses are marked with.
  var marks: [UInt: UInt8] = [:]

  private func noteLocks() { if FutexLock.threadHoldsAny { sawLock = true } }

  private func isRefused(_ wait: Int32) -> Bool {
    lock.withLock {
      if refuseAt > 0 {
        refuseAt -= 1
        if refuseAt == 0 { return true }
      }
      return refuses || wantsPatience && wait & WaitFlags.wait.rawValue == 0
    }
  }

  var source: PageSource {
    PageSource(
      allocate: { context, bytes, wait, mark in
        let mock = Unmanaged<MockSource>.fromOpaque(context!).takeUnretainedValue()
        mock.noteLocks()
        mock.lock.withLock {
          mock.allocations += 1
          mock.lastWait = wait
        }
        mock.onAllocate?()
        if mock.isRefused(wait) { return nil }
        let inner = PageSource.arena
        guard let memory = inner.allocate(inner.context, bytes, wait, mark) else { return nil }
        if let dirt = mock.dirt { memory.initializeMemory(as: UInt8.self, repeating: dirt, count: bytes) }
        mock.lock.withLock {
          mock.bytesOut += bytes
          mock.marks[memory.address] = UInt8(truncatingIfNeeded: mock.allocations) | 1
          mark.pointee = mock.marks[memory.address]!
        }
        return memory
      },
      free: { context, start, bytes, mark in
        let mock = Unmanaged<MockSource>.fromOpaque(context!).takeUnretainedValue()
        mock.noteLocks()
        mock.lock.withLock { mock.frees += 1 }
        mock.onFree?()
        mock.lock.withLock {
          mock.bytesOut -= bytes
          precondition(mock.marks.removeValue(forKey: start.address) == mark, "pages came back with another mark")
        }
        let inner = PageSource.arena
        inner.free(inner.context, start, bytes, 0)
      },
      context: Unmanaged.passUnretained(self).toOpaque(), isZeroed: false)
  }
}

extension PageSource {
  /// Pages of a source that marks none.
  func take(_ bytes: Int) -> UnsafeMutableRawPointer? {
    var mark: UInt8 = 0
    return allocate(context, bytes, 1, &mark)
  }
}

/// What hooks were called, in order. The hooks are C functions and find this by name.
enum Hooks {
  enum Kind: String { case kegInit, kegFini, zoneInit, zoneFini, constructor, destructor }
  struct Call: Equatable {
    var kind: Kind
    var item: UInt
  }

  nonisolated(unsafe) static var calls: [Call] = []
  /// The number of the call of this kind that refuses (1 is the next); 0 is none.
  nonisolated(unsafe) static var refuse: [Kind: Int] = [:]
  nonisolated(unsafe) static var sawLock = false
  nonisolated(unsafe) static var lastWait: Int32 = 0
  nonisolated(unsafe) static var lastArgument: UnsafeMutableRawPointer?
  nonisolated(unsafe) static var lastSize = 0

  static func reset() {
    calls = []
    refuse = [:]
    sawLock = false
    lastWait = 0
    lastArgument = nil
    lastSize = 0
  }

  static func count(_ kind: Kind) -> Int { calls.count { $0.kind == kind } }
  static func items(_ kind: Kind) -> [UInt] { calls.filter { $0.kind == kind }.map(\.item) }

  fileprivate static func note(_ kind: Kind, _ item: UnsafeMutableRawPointer, _ size: Int) -> Int32 {
    if FutexLock.threadHoldsAny { sawLock = true }
    calls.append(Call(kind: kind, item: UInt(bitPattern: item)))
    lastSize = size
    guard let left = refuse[kind], left > 0 else { return 0 }
    refuse[kind] = left - 1
    return left == 1 ? 12 : 0
  }

  static let kegInit: ItemHook = { item, size, wait in
    Hooks.lastWait = wait
    return Hooks.note(.kegInit, item, size)
  }
  static let kegFini: ItemFinish = { item, size in _ = Hooks.note(.kegFini, item, size) }
  static let zoneInit: ItemHook = { item, size, wait in Hooks.note(.zoneInit, item, size) }
  static let zoneFini: ItemFinish = { item, size in _ = Hooks.note(.zoneFini, item, size) }
  static let constructor: Constructor = { item, size, argument, wait in
    Hooks.lastArgument = argument
    Hooks.lastWait = wait
    return Hooks.note(.constructor, item, size)
  }
  static let destructor: Destructor = { item, size, argument in
    Hooks.lastArgument = argument
    _ = Hooks.note(.destructor, item, size)
  }

  static var all: ZoneHooks {
    ZoneHooks(constructor: constructor, destructor: destructor, initialize: kegInit, finish: kegFini)
  }
}
