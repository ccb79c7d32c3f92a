// SPDX-License-Identifier: BSD-2-Clause
//
// Events of the whole memory: who hears of them gives back what the zones' caches do not know of.

internal import Heap
internal import Own
internal import Synchronization
internal import Zones

/// Something that the whole program may want to hear of.
public enum MemoryEvent: Sendable {
  /// There is no memory for a request that may wait: handlers run in its thread, at most once in ten seconds, before all zones give back
  /// what they cache.
  case shortage
  /// The same; and a limit of packets is met, then in a thread of Stave's own: who keeps packets drops what can be spared.
  case packetShortage
  /// A limit of packets has changed: handlers run in the thread that has changed it, or, from outside, in one of Stave's own.
  case packetLimits

  fileprivate var core: Zones.MemoryEvent {
    switch self {
    case .shortage: .shortage
    case .packetShortage: .packetShortage
    case .packetLimits: .packetLimits
    }
  }
}

/// Calls a closure at each event of a kind as long as this object lives.
///
///     let handler = try MemoryEventHandler(.packetLimits) { print("packets have other limits") }
///     try Packets.setLimit(.sixteens, to: 100)   // packets have other limits
///     withExtendedLifetime(handler) {}
///
/// The closure runs with no lock held. It may free, and ask zones for items that it does not wait for. Each object made leaves some 100
/// bytes behind when it goes: a call in another thread may still be on its way.
public final class MemoryEventHandler: Sendable {
  private let event: MemoryEvent
  private let hook: CalledClosure

  /// From now on the closure is called. Throws `.outOfMemory` where the process has twelve handlers already.
  public init(_ event: MemoryEvent, _ handler: @escaping @Sendable () -> Void) throws(ZoneError) {
    self.event = event
    hook = CalledClosure()
    hook.set(handler)
    guard Heap.startOwn() else { throw .outOfMemory }
    guard events.add(event.core, Self.function, Unmanaged.passRetained(hook).toOpaque()) else {
      Unmanaged.passUnretained(hook).release()
      throw .outOfMemory
    }
  }

  deinit {
    _ = events.remove(event.core, Self.function, Unmanaged.passUnretained(hook).toOpaque(), waits: false)
    hook.set(nil)
  }

  private static let function: EventFunction = { CalledClosure.hook($0, 0) }
}
