// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on zones of any set of flags, with and without a reserve and reserved addresses, against a model: what is held and
// what was written to it, each item's count, what was left in an item that was freed, and how many items there can be.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

private final class Subject {
  let mock = MockSource()
  let zone: ZonePointer
  let flags: ZoneFlags
  let size: Int
  /// The most items there can be.
  var limit = Int.max
  var reserve = 0
  var held: [UnsafeMutableRawPointer] = []
  /// The byte that an item was filled with last, and its count, of all items ever handed out: while slabs stay, so do these.
  var marks: [UnsafeMutableRawPointer: UInt8] = [:]
  var counts: [UnsafeMutableRawPointer: UInt32] = [:]

  var keg: KegPointer { zone.pointee.keg }
  /// One, or one of each memory domain.
  var kegs: [KegPointer] { zone.pointee.domains == nil ? [keg] : zone.parts.map { $0.pointee.keg } }
  var slabsMade: Int { kegs.reduce(0) { $0 + $1.pointee.slabsMade } }
  var freeItems: Int { kegs.reduce(0) { $0 + $1.pointee.freeItems } }
  var outstanding: Int { kegs.reduce(0) { $0 + $1.outstanding } }
  var isPerCPU: Bool { flags.contains(.perCPU) }
  var isDeferred: Bool { flags.contains(.smr) }
  /// Whether a free item is as its last owner left it, or as its slab was made.
  var remembers: Bool { zone.pointee.flags.contains(.noFree) }

  /// Nil for flags that contradict each other, if `makeZone` says so too.
  init?(_ generator: inout Generator) {
    let kinds: [ZoneFlags] = [.refCount, .cacheSpread, .noTouch, .perCPU, .noDump, .offPage, .noBucket, .zeroInit, .noFree, .malloc, .vm, .maxBucket, .firstTouch, .roundRobin, .smr]
    var flags = ZoneFlags.none
    for _ in 0..<generator.below(5) { flags.insert(kinds[generator.below(kinds.count)]) }
    self.flags = flags
    size = generator.size(upTo: flags.contains(.perCPU) ? 2000 : generator.below(4) == 0 ? 20_000 : 2000)
    let align = 1 << generator.below(8)
    if generator.below(2) == 0 { mock.dirt = 0xd1 }
    let made = makeZone(name: FixedName("kind"), size: size, alignMask: align - 1, flags: flags, source: mock.source)
    if (made == nil) != contradict(flags) { Issue.record("flags \(flags.rawValue): \(made == nil ? "no" : "a") zone (STAVE_SEED=\(Stage.seed))") }
    guard let made else { return nil }
    zone = made
    if generator.below(4) == 0 {
      let count = generator.below(40)
      zone.setReserve(count)
      reserve = kegs.reduce(0) { $0 + $1.pointee.reserve }
      if reserve < count || reserve >= count + kegs.count { Issue.record("a reserve of \(count) is \(reserve)") }
    }
    if generator.below(4) == 0 {
      let count = 1 + generator.below(600)
      if zone.reserveAddresses(for: count) {
        limit = ((count - 1) / kegs.count + 1).roundedUp(toMultipleOf: keg.pointee.layout.items) * kegs.count
      }
    }
  }

  private func copies(of item: UnsafeMutableRawPointer) -> [UnsafeMutableRawPointer] {
    isPerCPU ? (0..<perCPUCopies).map { perCPUCopy(of: item, cpu: $0) } : [item]
  }

  func isFilled(_ item: UnsafeMutableRawPointer, _ mark: UInt8) -> Bool {
    copies(of: item).allSatisfy { $0.load(as: UInt8.self) == mark && (size == 1 || memcmp($0, $0 + 1, size - 1) == 0) }
  }

  /// An item in hand: what is wrong with it, before it gets a new mark and count.
  func accept(_ item: UnsafeMutableRawPointer, zeroed: Bool, _ generator: inout Generator) -> String? {
    var wrong: String? = nil
    if Int(bitPattern: item) & keg.pointee.alignMask != 0 { wrong = "alignment" }
    if zeroed {
      if !isFilled(item, 0) { wrong = "not zeroed" }
    } else if remembers, !flags.contains(.malloc) {
      if let mark = marks[item] {
        if !isFilled(item, mark) { wrong = "changed while it was free" }
      } else if !flags.contains(.noTouch) {
        if !isFilled(item, 0) { wrong = "new, and not zeroed" }
      } else if limit == .max, let dirt = mock.dirt, !isFilled(item, dirt) {
        wrong = "new, and touched"
      }
    }
    if flags.contains(.refCount) {
      let count = zone.referenceCount(of: item)
      if count.pointee != counts[item] ?? 0 { wrong = "count" }
      count.pointee = UInt32(truncatingIfNeeded: generator.next())
      counts[item] = count.pointee
    }
    let mark = UInt8(truncatingIfNeeded: generator.next())
    for copy in copies(of: item) { copy.initializeMemory(as: UInt8.self, repeating: mark, count: size) }
    marks[item] = mark
    held.append(item)
    return wrong
  }

  func take(_ flags: WaitFlags) -> UnsafeMutableRawPointer? {
    isPerCPU ? zone.allocatePerCPU(flags) : isDeferred ? zone.allocateSMR(flags) : zone.allocate(flags)
  }

  /// Whether it was as its owner left it.
  func give(_ item: UnsafeMutableRawPointer) -> Bool {
    let isIntact = isFilled(item, marks[item]!) && (!flags.contains(.refCount) || zone.referenceCount(of: item).pointee == counts[item]!)
    if isPerCPU { zone.freePerCPU(item) } else if isDeferred { zone.freeSMR(item) } else { zone.free(item) }
    return isIntact
  }

  /// The end of it.
  func end() -> String? {
    for item in held where !give(item) { return "contents at the end" }
    check(zone, holding: 0)
    if zone.destroy() != 0 { return "items out" }
    return mock.bytesOut == 0 ? mock.sawLock ? "a lock was held over the page source" : nil : "pages out"
  }
}

extension Int {
  fileprivate func roundedUp(toMultipleOf divisor: Int) -> Int { (self + divisor - 1) / divisor * divisor }
}

extension OnRoot {
  @Suite struct ZoneKindsPropertyTests {
    init() { Stage.up() }

    /// Of the domain that this thread is in.
    static var here: Int { memoryDomains.domain(ofCPU: CPUCache.currentCPU ?? 0) }

    /// With so many memory domains, between which the thread goes to and fro.
    static func randomOperations(_ stream: UInt64, domains: Int) {
      withDomains(domains) {
        hop(to: 0)
        randomOperations(stream)
      }
    }

    static func randomOperations(_ stream: UInt64) {
      var generator = Generator(stream)
      var subjects: [Subject] = []
      let headers = headersOut(), slabBytes = arena.pointee.slabBytes
      for step in 0..<Stage.steps(2500, soak: 300_000) {
        func demand(_ isTrue: Bool, _ what: String, _ subject: Subject) {
          if !isTrue { Issue.record("step \(step), flags \(subject.flags.rawValue), \(subject.size) bytes: \(what) (STAVE_SEED=\(Stage.seed))") }
        }
        if subjects.isEmpty || (subjects.count < 6 && generator.below(30) == 0) {
          guard let new = Subject(&generator) else { continue }
          subjects.append(new)
        }
        let index = generator.below(subjects.count)
        let subject = subjects[index], zone = subject.zone
        if memoryDomains.count > 1 && generator.below(20) == 0 { hop(to: generator.below(memoryDomains.count)) }
        let here = Self.here
        switch generator.below(20) {
        case 0...7:
          for _ in 0..<(generator.below(8) == 0 ? 150 : 3) where subject.held.count < 800 {
            let zeroed = generator.below(4) == 0, isUrgent = generator.below(6) == 0
            var flags = WaitFlags.noWait
            if zeroed { flags.insert(.zero) }
            if isUrgent { flags.insert(.useReserve) }
            let mayBeRefused = subject.mock.refuseAt > 0
            let (made, cells, refuseAt) = (subject.slabsMade, zone.depotItemsInAll + cached(zone), subject.mock.refuseAt)
            guard let item = subject.take(flags) else {
              // The source said no, or all there can be is out or reserved.
              let isOver = subject.outstanding + (isUrgent ? 0 : subject.reserve) >= subject.limit
              demand(mayBeRefused && subject.mock.refuseAt == 0 || isOver, "nil for no reason", subject)
              continue
            }
            demand(subject.held.count < subject.limit, "more items than addresses", subject)
            let keg = zone.ownerKeg(of: item.address)
            if cells == 0 && !isUrgent && made == subject.slabsMade {
              demand(keg.pointee.freeItems >= keg.pointee.reserve, "the reserve was touched", subject)
            }
            if zone.pointee.flags.contains(.divided) && subject.limit == .max && refuseAt == subject.mock.refuseAt {
              demand(zone.domain(of: item) == here, "of another domain than the CPU's", subject)
            }
            if let wrong = subject.accept(item, zeroed: zeroed, &generator) { demand(false, wrong, subject) }
          }
        case 8...14:
          for _ in 0..<(generator.below(8) == 0 ? 150 : 4) where !subject.held.isEmpty {
            demand(subject.give(subject.held.remove(at: generator.below(subject.held.count))), "contents", subject)
          }
        case 15: zone.reclaim([.trim, .drain, .drainCPU][generator.below(3)])
        case 16: subject.mock.refuseAt = 1 + generator.below(3)
        case 17:
          let count = generator.below(60), free = subject.freeItems
          if zone.preallocate(count, .noWait) { demand(subject.freeItems >= free + count, "too few slabs made ahead", subject) }
        case 18: trimIdleDepots()
        default:
          guard generator.below(4) == 0 else { continue }
          if let wrong = subject.end() { demand(false, wrong, subject) }
          subjects.remove(at: index)
          continue
        }
        if Stage.checks(step) { check(zone, holding: subject.held.count) }
      }
      for subject in subjects {
        if let wrong = subject.end() { Issue.record("flags \(subject.flags.rawValue): \(wrong) (STAVE_SEED=\(Stage.seed))") }
      }
      #expect(headersOut() == headers && arena.pointee.slabBytes == slabBytes)
      checkAll()
    }

    @Test func `L39 random operations on zones of all kinds agree with the model`() async {
      Self.randomOperations(70)
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.ZoneKindsPropertyTests.randomOperations(71)
      }
    }

    @Test(arguments: [2, 4]) func `L39 so do they over several memory domains`(_ domains: Int) async {
      Self.randomOperations(72, domains: domains)
      await #expect(processExitsWith: .success) { [domains] in
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.ZoneKindsPropertyTests.randomOperations(73, domains: domains)
      }
    }
  }
}
