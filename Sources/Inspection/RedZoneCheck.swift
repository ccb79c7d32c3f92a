// SPDX-License-Identifier: BSD-2-Clause
//
// The guard bytes of all live blocks, from outside: what free would find of each if it were freed now. The functions that know how
// a block lies in its item are the library's own (Diagnostics/RedZone); here their bytes are copies.

import Diagnostics
import Heap
import Pages

/// What became of one look.
public struct RedZoneReading: Sendable {
  public struct Damaged: Sendable {
    public let block: RedZoneBlock
    public let damage: RedZoneDamage
    public let zone: String
    public let isLarge: Bool
    /// The malloc type's name; malloc's for none.
    public let type: String
  }

  /// Whether the process has ever had the option on.
  public var wasOn = false
  /// Whether it has it on now, and how many blocks MemGuard has, which have no guard bytes.
  public var isOn = false
  public var guarded = 0
  /// Blocks with guard bytes, and live blocks of malloc's without.
  public var checked = 0
  public var plain = 0
  /// Blocks that a thread was just making.
  public var unfinished = 0
  /// Blocks that could not be read.
  public var unreadable = 0
  public var damaged: [Damaged] = []
}

/// What a process says of its RedZone.
public struct RedZoneFigures: Sendable, Equatable {
  /// Beyond the sizes of live blocks that have guard bytes.
  public var extraBytes = 0
  public var blocks = 0
  /// Damaged blocks that free and realloc have found.
  public var damaged = 0

  public init() {}

  init(_ root: RootCopy) {
    let state = root.part(RedZoneState.self, RootLayout.redZoneOffset)
    let figures: ClosedRange<Int64> = 0...1 << 50
    extraBytes = Int(state.pointee.extraBytes.clamped(to: figures))
    blocks = Int(state.pointee.blocks.clamped(to: figures))
    damaged = Int(state.pointee.damaged.clamped(to: figures))
  }
}

extension Comparable {
  fileprivate func clamped(to range: ClosedRange<Self>) -> Self { min(max(self, range.lowerBound), range.upperBound) }
}

extension SnapshotReader {
  /// Of a core, or of a process that is held; of one that works blocks may be missed, and others be taken for damaged. Costs the
  /// walk over all live items, and where RedZone has been on a read of their slabs.
  public func checkRedZone() throws(InspectionError) -> RedZoneReading {
    let copies = Copies(target)
    defer { copies.discard() }
    let key = try readRoot(copies).part(RedZoneState.self, RootLayout.redZoneOffset).pointee.key
    var names: [UInt32: String] = [:]
    let snapshot = try snapshot()
    for type in snapshot.types { names[type.number] = type.label }
    var reading = RedZoneReading()
    reading.wasOn = key != 0
    (reading.isOn, reading.guarded) = (snapshot.options[Option.redZone.rawValue] > 0, snapshot.guards.live)
    try walkItems { run throws(InspectionError) in
      guard run.isMalloc else { return }
      guard key != 0, UInt(run.bytes) >= RedZone.leastItem else { return reading.plain += run.addresses.count }
      try check(run, key, names, &reading)
    }
    reading.damaged.sort { $0.block.address < $1.block.address }
    return reading
  }

  private func check(_ run: ItemRun, _ key: UInt64, _ names: [UInt32: String], _ reading: inout RedZoneReading) throws(InspectionError) {
    let bytes = Sixteens(target, run)
    let headers = try bytes.load(run.addresses)
    let copies = try bytes.load(run.addresses.map { $0 &+ UInt(run.bytes) &- RedZone.headerBytes })
    var blocks: [RedZoneBlock] = []
    for (index, item) in run.addresses.enumerated() {
      guard let header = headers[index], let copy = copies[index] else {
        reading.unreadable += 1
        continue
      }
      switch RedZone.find(header: header, copy: copy, item: item, bytes: UInt(run.bytes), key: key) {
      case .live(let block): blocks.append(block)
      case .young, .freed: reading.unfinished += 1
      case .none: reading.plain += 1
      }
    }
    let before = try bytes.load(blocks.map(\.guardBefore)), behind = try bytes.load(blocks.map(\.guardBehind))
    for (index, block) in blocks.enumerated() {
      guard let before = before[index], let behind = behind[index] else {
        reading.unreadable += 1
        continue
      }
      reading.checked += 1
      let damage = RedZoneDamage(block, before: (before.first, before.second), behind: (behind.first, behind.second))
      guard damage.isAny else { continue }
      reading.damaged.append(
        RedZoneReading.Damaged(block: block, damage: damage, zone: run.zone, isLarge: run.isLarge, type: names[run.type] ?? "malloc"))
    }
  }
}

/// Sixteen bytes at each of many addresses in a slab's items: of small items out of one copy of them all, since a read of many ranges
/// costs more than that of all between them.
struct Sixteens {
  private let target: any TargetMemory
  private var start: UInt = 0
  private var copy: [UInt8] = []

  init(_ target: any TargetMemory, _ run: ItemRun) {
    self.target = target
    guard run.bytes <= 2048, run.addresses.count > 4, let first = run.addresses.first, let last = run.addresses.last, last >= first, last - first < 1 << 24
    else { return }
    // Where a page of them is missing, as it may be in a core, those that are there are read one by one.
    guard let all = try? target.readArray(UInt8.self, at: first, count: Int(last - first) + run.bytes, limit: 1 << 25) else { return }
    start = first
    copy = all
  }

  func load(_ addresses: [UInt]) throws(InspectionError) -> [RedZoneHeader?] {
    if copy.isEmpty { return try target.read(RedZoneHeader.self, at: addresses) }
    return copy.withUnsafeBytes { bytes in
      addresses.map { address in
        let offset = Int(bitPattern: address &- start)
        return 0...(bytes.count - 16) ~= offset ? bytes.loadUnaligned(fromByteOffset: offset, as: RedZoneHeader.self) : nil
      }
    }
  }
}
