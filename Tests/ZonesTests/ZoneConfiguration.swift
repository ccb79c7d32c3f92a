// SPDX-License-Identifier: BSD-2-Clause
//
// The configurations of flags and kinds that zones come in, one by one, each with how its items are asked for and given back: what
// ZoneConfigurationTests goes through.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

struct ZoneConfiguration: CustomTestStringConvertible, Sendable {
  enum Kind { case plain, limited, hooked, reserved, addresses, secondary, severalKegs, cacheOnly, perCPU, deferred, limitedDeferred, elsewhere }

  let name: String
  var flags = ZoneFlags.none
  var kind = Kind.plain
  /// Made-up memory domains.
  var domains = 1

  var testDescription: String { name }

  static let all: [ZoneConfiguration] = [
    ZoneConfiguration(name: "no flags"), ZoneConfiguration(name: "zeroInit", flags: .zeroInit), ZoneConfiguration(name: "offPage", flags: .offPage),
    ZoneConfiguration(name: "malloc", flags: .malloc), ZoneConfiguration(name: "noFree", flags: .noFree), ZoneConfiguration(name: "vm", flags: .vm),
    ZoneConfiguration(name: "maxBucket", flags: .maxBucket), ZoneConfiguration(name: "noBucket", flags: .noBucket),
    ZoneConfiguration(name: "refCount", flags: .refCount), ZoneConfiguration(name: "cacheSpread", flags: .cacheSpread),
    ZoneConfiguration(name: "noTouch", flags: .noTouch), ZoneConfiguration(name: "noDump", flags: .noDump),
    ZoneConfiguration(name: "unmanaged", flags: .unmanaged), ZoneConfiguration(name: "perCPU", flags: .perCPU, kind: .perCPU),
    ZoneConfiguration(name: "smr", flags: .smr, kind: .deferred), ZoneConfiguration(name: "notPage", flags: .notPage, kind: .elsewhere),
    ZoneConfiguration(name: "firstTouch, 2 domains", flags: .firstTouch, domains: 2),
    ZoneConfiguration(name: "firstTouch, 4 domains", flags: .firstTouch, domains: 4),
    ZoneConfiguration(name: "roundRobin, 2 domains", flags: .roundRobin, domains: 2),
    ZoneConfiguration(name: "roundRobin, 4 domains", flags: .roundRobin, domains: 4),
    ZoneConfiguration(name: "refCount and offPage and maxBucket", flags: .refCount.union(.offPage).union(.maxBucket)),
    ZoneConfiguration(name: "noTouch and noFree and noDump", flags: .noTouch.union(.noFree).union(.noDump)),
    ZoneConfiguration(name: "cacheSpread and zeroInit", flags: .cacheSpread.union(.zeroInit)),
    ZoneConfiguration(name: "firstTouch and refCount and cacheSpread", flags: .firstTouch.union(.refCount).union(.cacheSpread), domains: 2),
    ZoneConfiguration(name: "a limit", kind: .limited), ZoneConfiguration(name: "firstTouch and a limit", flags: .firstTouch, kind: .limited, domains: 2),
    ZoneConfiguration(name: "smr and a limit", flags: .smr, kind: .limitedDeferred),
    ZoneConfiguration(name: "smr and noBucket and a limit", flags: .smr.union(.noBucket), kind: .limitedDeferred),
    ZoneConfiguration(name: "all hooks", kind: .hooked), ZoneConfiguration(name: "a reserve", kind: .reserved),
    ZoneConfiguration(name: "reserved addresses", kind: .addresses), ZoneConfiguration(name: "secondary", kind: .secondary),
    ZoneConfiguration(name: "several kegs", flags: .offPage, kind: .severalKegs), ZoneConfiguration(name: "cache-only", kind: .cacheOnly),
  ]
}

/// What an author's functions do for the zones below: blocks of a list, and hooks that count.
enum ConfiguredItems {
  nonisolated(unsafe) static var spare: [UInt] = []
  nonisolated(unsafe) static var made = 0
  nonisolated(unsafe) static var balance = 0

  nonisolated(unsafe) static let hooks = ZoneHooks(
    constructor: { _, _, _, _ in
      ConfiguredItems.balance += 1
      return 0
    },
    destructor: { _, _, _ in ConfiguredItems.balance -= 1 },
    initialize: { _, _, _ in
      ConfiguredItems.made += 1
      return 0
    },
    finish: { _, _ in ConfiguredItems.made -= 1 })

  static let bring: ItemImport = { _, store, count, _ in
    let count = min(count, ConfiguredItems.spare.count)
    for index in 0..<count { store[index] = ConfiguredItems.spare.removeLast() }
    return count
  }
  static let take: ItemRelease = { _, store, count in for index in 0..<count { ConfiguredItems.spare.append(store[index]) } }
}

/// One zone of a configuration, from making to end.
final class ConfiguredZone {
  let configuration: ZoneConfiguration
  let zone: ZonePointer
  let size: Int
  /// The zones whose kegs it has, if it is not its own.
  private var primaries: [ZonePointer] = []
  private let mock = MockSource()
  private let bank = PageBank()
  private var blocks: UnsafeMutableRawPointer?

  init(_ configuration: ZoneConfiguration, _ generator: inout Generator) {
    self.configuration = configuration
    let flags = configuration.flags, alignMask = (1 << generator.below(7)) - 1
    let size = 8 + generator.size(upTo: flags.contains(.perCPU) || generator.below(4) > 0 ? 1000 : 9000)
    self.size = size
    let source = mock.source
    func make(_ hooks: ZoneHooks = ZoneHooks()) -> ZonePointer {
      makeTestZone("configured", size, alignMask: alignMask, flags: flags, hooks: hooks, source: source)
    }
    (ConfiguredItems.made, ConfiguredItems.balance) = (0, 0)
    switch configuration.kind {
    case .plain, .perCPU: zone = make()
    case .limited:
      zone = make()
      zone.setLimit(1 + generator.below(600))
    case .hooked: zone = make(ConfiguredItems.hooks)
    case .reserved:
      zone = make()
      zone.setReserve(generator.below(100))
    case .addresses:
      zone = make()
      _ = zone.reserveAddresses(for: 1 + generator.below(800))
    case .secondary:
      primaries = [make()]
      zone = makeSecondaryZone(name: FixedName("configured, second"), hooks: ConfiguredItems.hooks, primary: primaries[0])!
    case .severalKegs:
      primaries = (0..<3).map { _ in make() }
      zone = makeSecondaryZone(name: FixedName("configured, several"), primary: primaries[0])!
      for other in primaries.dropFirst() where zone.addKeg(of: other) != .done { Issue.record("no second keg") }
    case .cacheOnly:
      let block = (size + 15) & ~15, count = 1000
      let start = UnsafeMutableRawPointer.allocate(byteCount: block * count, alignment: 16)
      blocks = start
      ConfiguredItems.spare = (0..<count).map { start.address + UInt($0 * block) }
      zone = makeCacheOnlyZone(
        name: FixedName("configured, cache"), size: size, argument: nil, importItems: ConfiguredItems.bring, releaseItems: ConfiguredItems.take)!
    case .deferred, .limitedDeferred:
      zone = makeSMRZone(name: FixedName("configured, smr"), size: size, alignMask: alignMask, flags: flags, source: source)!
      if configuration.kind == .limitedDeferred { zone.setLimit(1 + generator.below(600)) }
    case .elsewhere:
      zone = make()
      zone.setSource(bank.source)
    }
  }

  func take(_ flags: WaitFlags) -> UnsafeMutableRawPointer? {
    switch configuration.kind {
    case .perCPU: zone.allocatePerCPU(flags)
    case .deferred, .limitedDeferred: zone.allocateSMR(flags)
    default: zone.allocate(flags)
    }
  }

  func give(_ item: UnsafeMutableRawPointer) {
    switch configuration.kind {
    case .perCPU: zone.freePerCPU(item)
    case .deferred, .limitedDeferred: zone.freeSMR(item)
    default: zone.free(item)
    }
  }

  /// Page source's next refusal; nothing where the source is not ours.
  func refuseSoon() {
    mock.refuseAt = 1
    bank.refuseAt = 1
  }
  func refuseNoMore() { (mock.refuseAt, bank.refuseAt) = (0, 0) }

  /// Whether nil may be the answer: something refuses, or all there can be is out or cached.
  func mayBeRefused(holding: Int) -> Bool {
    switch configuration.kind {
    case .limited: zone.isExhausted
    case .limitedDeferred:
      // All is out but for what lies in the two cells of each other CPU.
      zone.isExhausted && holding + (Int(root.pointee.cpuCount) - 1) * 2 * Deferral.cellCapacity(bucketSize: 254, limit: zone.limit) >= zone.limit
    case .addresses: true
    case .cacheOnly: ConfiguredItems.spare.isEmpty
    default: false
    }
  }

  func check(holding: Int) {
    TestSupport.check(zone, holding: holding)
    for primary in primaries { TestSupport.check(primary, holding: 0) }
    if configuration.kind == .hooked && ConfiguredItems.balance != holding { Issue.record("constructors and destructors") }
    if configuration.kind == .hooked && ConfiguredItems.made != zone.capacity { Issue.record("inits and finis") }
  }

  /// All items are back.
  func end() -> String? {
    check(holding: 0)
    if zone.destroy() != 0 { return "items out" }
    for primary in primaries where primary.destroy() != 0 { return "items of a primary out" }
    if ConfiguredItems.made != 0 { return "inits and finis" }
    if blocks != nil && ConfiguredItems.spare.count != 1000 { return "blocks that are not back" }
    blocks?.deallocate()
    return mock.bytesOut == 0 && bank.out == 0 ? nil : "pages out"
  }
}
