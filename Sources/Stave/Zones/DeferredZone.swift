// SPDX-License-Identifier: BSD-2-Clause
//
// Zones whose items are reused when no reader can be at them any more.

public import CPlatform
internal import Zones

/// A zone for structures that are read without a lock. A freed value stays as it is until every reader that may have found it has left its
/// section; then it is deinitialised, and its memory can be reused.
///
///     struct Entry: ~Copyable, @unchecked Sendable {
///       let key: Int
///       let next: Atomic<UnsafeMutablePointer<Entry>?>
///     }
///     let sections = try ReadSections()
///     let entries = try DeferredZone<Entry>("entries", readers: sections)
///     let entry = entries.allocate(Entry(key: 1, next: Atomic(nil)))!
///
/// A value may be deinitialised in any thread that allocates, frees or trims, so values must be Sendable.
public final class DeferredZone<Element: ~Copyable & Sendable>: AnyZone, @unchecked Sendable {
  /// Whose sections are waited for.
  public let readers: ReadSections
  @usableFromInline let allocationCell: UInt64
  @usableFromInline let freeCell: UInt64

  /// A new zone.
  ///
  /// - Parameters:
  ///   - name: What the tools show: of its UTF-8, 31 bytes.
  ///   - readers: Whose sections are waited for. It lives as long as the zone.
  ///   - flags: What is special about it.
  ///   - limit: How many items there may be: in use, waiting for readers, and cached; 0 for any number.
  /// - Throws: ``ZoneError/impossible`` for flags that contradict each other, ``ZoneError/outOfMemory``.
  public init(_ name: String, readers: ReadSections, flags: ZoneFlags = [], limit: Int = 0) throws(ZoneError) {
    self.readers = readers
    let end = ValueEnd<Element>()
    let flags = ZoneFlags(rawValue: flags.rawValue | Zones.ZoneFlags.smr.rawValue)
    let core = try makeCore(Element.self, name, flags) {
      makeSMRZone(
        name: $0, size: $1, alignMask: $2, flags: flags.core, hooks: ZoneHooks(destructor: ValueEndBase.destructor), smr: readers.context)
    }
    core.pointee.argument = Unmanaged.passUnretained(end).toOpaque()
    allocationCell = CPUCache.offset(ofCell: core.pointee.allocationCell)
    freeCell = CPUCache.offset(ofCell: core.pointee.freeCell)
    super.init(core, companion: Companions(end, readers))
    if limit > 0 { core.setLimit(limit) }
  }

  /// A value in the zone; nil when there is no memory or the limit is met, and the value is deinitialised. Waits for readers at
  /// the limit alone, and with `.wait`, which in a section is reported and nil. May be called in a section. `.zero` has no effect here:
  /// what the memory holds is the value.
  @inlinable @inline(__always)
  public func allocate(_ value: consuming Element, _ request: ZoneRequest = []) -> UnsafeMutablePointer<Element>? {
    guard let item = allocationCell != 0 ? stave_pop(allocationCell) ?? allocateSlow(request) : allocateSlow(request) else { return nil }
    let element = item.assumingMemoryBound(to: Element.self)
    element.initialize(to: value)
    return element
  }

  /// Frees a value that no reader can find from here on. As a rule one store in this CPU's cache; not in a section of the same readers,
  /// which is reported when the cache is full.
  @inlinable @inline(__always)
  public func free(_ element: UnsafeMutablePointer<Element>) {
    if freeCell != 0 && stave_push(freeCell, element) == 0 { return }
    freeSlow(element)
  }

  @inline(never) @usableFromInline
  func allocateSlow(_ request: ZoneRequest) -> UnsafeMutableRawPointer? { core.allocateSMR(request.subtracting(.zero).core) }

  @inline(never) @usableFromInline
  func freeSlow(_ element: UnsafeMutablePointer<Element>) { core.freeSMR(element) }
}

/// The destructor of the core's zone has an address and this.
private class ValueEndBase {
  func end(_ item: UnsafeMutableRawPointer) {}

  static let destructor: Destructor = { item, _, argument in
    Unmanaged<ValueEndBase>.fromOpaque(argument!).takeUnretainedValue().end(item)
  }
}

private final class ValueEnd<Element: ~Copyable>: ValueEndBase {
  override func end(_ item: UnsafeMutableRawPointer) { item.assumingMemoryBound(to: Element.self).deinitialize(count: 1) }
}

/// Several that are kept together.
final class Companions {
  let all: [AnyObject]
  init(_ all: AnyObject...) { self.all = all }
  init(all: [AnyObject]) { self.all = all }
}
