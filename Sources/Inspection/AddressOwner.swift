// SPDX-License-Identifier: BSD-2-Clause
//
// Whose an address is: the item of which zone, or which large block, and whether it is out. Of a process that runs it is an answer for
// the moment of the reading, and an item on its way between two caches seems to be in use.

import CPlatform
import Pages
import Primitives
import Zones

public struct AddressOwner: Sendable {
  public enum Kind: String, Sendable {
    case item
    /// In a slab, but in no item: its header, or what is left over.
    case slab = "slab, in no item"
    case large = "large block"
    /// In the arena, and nobody's.
    case free = "free memory"
    /// MemGuard's: it lies in or beside a block that is live, or was freed a while ago.
    case guarded = "guarded block"
    /// In the addresses of guarded blocks, and of none that is known.
    case guards = "guarded blocks"
  }

  /// `freed`: of a guarded block, whose addresses nobody else has yet.
  public enum State: String, Sendable { case used = "in use", cached, free, freed }

  public var address: UInt
  /// The copy of Stave.
  public var root = ""
  public var kind: Kind
  /// The zones that may have it out: one, but where zones share a keg.
  public var zones: [String] = []
  /// Of the item or the block.
  public var start: UInt = 0
  public var bytes = 0
  public var state = State.used
  /// The item's number in its slab, and how many there are.
  public var index = 0
  public var count = 0
  /// Of an item with a copy for each CPU: whose copy it is.
  public var cpu: Int?
  /// The number of a malloc type, 0 for none.
  public var type: UInt32 = 0
  /// The hash of its name where the number may be another's by now, else 0.
  public var typeHash: UInt32 = 0
  /// Of a guarded block: the numbers of the stacks that asked for it and that freed it (RecordedStacks), 0 where there is none.
  public var allocationStack: UInt32 = 0
  public var freeStack: UInt32 = 0
}

extension SnapshotReader {
  /// Nil where the address is not of this copy of Stave. Costs the list of zones, and for an item a read of what its zone's caches
  /// hold; for a large block, of the arena's map.
  public func owner(of address: UInt) throws(InspectionError) -> AddressOwner? {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try readRoot(copies), arena = try arenaWindow(root)
    guard arena.contains(address) else {
      if let outside = try ownerByLists(address, root, arena, copies) { return outside }
      return try guardedOwner(of: address, root, copies)
    }
    let owners = UInt(bitPattern: root.part(OwnerMap.self, RootLayout.ownersOffset).pointee.owners)
    let word = try target.read(UInt.self, at: owners &+ (address - arena.lowerBound) >> (unitShift - 1) &* 8)
    if word != 0 && word & 1 == 0 {
      let header = try target.read(SlabHeaderCopy.self, at: word)
      for place in try findZones(root, try readRegions(root), copies) {
        let keg = try copies.structure(Keg.self, at: place.identity.keg)
        if keg.pointee.index == header.kegIndex { return try owner(of: address, in: word, header, keg, place.identity.keg, root, copies) }
      }
      return AddressOwner(address: address, root: name, kind: .slab)
    }
    if word == 0, let owner = try ownerByLists(address, root, arena, copies) { return owner }
    for entry in try mapEntries(root) where entry.kind == RangeKind.large && entry.start <= address && address < entry.end {
      var owner = AddressOwner(address: address, root: name, kind: .large)
      (owner.start, owner.bytes, owner.type) = (entry.start, Int(clamping: entry.words.0), UInt32(entry.owner))
      return owner
    }
    return AddressOwner(address: address, root: name, kind: .free)
  }

  // MARK: - Items

  private func owner(
    of address: UInt, in slab: UInt, _ header: SlabHeaderCopy, _ keg: UnsafePointer<Keg>, _ kegPlace: UInt, _ root: RootCopy, _ copies: Copies
  ) throws(InspectionError) -> AddressOwner {
    let layout = keg.pointee.layout
    guard layout.isPossible else { throw .damaged("a keg whose slabs have no possible layout") }
    var owner = AddressOwner(address: address, root: name, kind: .slab)
    let places = try findZones(root, try readRegions(root), copies)
    var cached: Set<UInt> = []
    for place in places {
      let zone = try copies.structure(Zone.self, at: place.zone)
      guard zone.pointee.kegPlaces.contains(kegPlace) else { continue }
      let label = withUnsafeBytes(of: zone.pointee.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.printable
      owner.zones.append(zone.pointee.instance > 0 ? "\(label)_\(zone.pointee.instance)" : label)
      if zone.pointee.type != 0 { owner.type = zone.pointee.type }
      cached.formUnion(try cachedItems(of: place, keg, copies))
    }
    owner.count = layout.items
    let colour = UInt(header.colour) &* UInt(truncatingIfNeeded: keg.pointee.alignMask &+ 1)
    let base = try layout.isOffPage ? target.read(UInt.self, at: slab &- UInt(MemoryLayout<OffPagePrefix>.size)) : slab &- UInt(layout.headerOffset)
    var offset = address &- base
    let pageBytes = UInt(root.part(RootHeader.self, 0).pointee.pageBytes)
    if keg.pointee.flags.contains(.perCPU), pageBytes > 0 {
      owner.cpu = Int(clamping: offset / pageBytes)
      offset %= pageBytes
    }
    let first = colour &+ UInt(layout.firstItem), index = offset &- first
    guard offset >= first, index / UInt(layout.itemBytes) < UInt(layout.items), index % UInt(layout.itemBytes) < UInt(layout.size) else { return owner }
    owner.kind = .item
    owner.index = Int(index / UInt(layout.itemBytes))
    owner.bytes = layout.size
    owner.start = address &- index % UInt(layout.itemBytes)
    let bits = try target.read(UInt64.self, at: slab &+ UInt(MemoryLayout<Slab>.size) &+ UInt(owner.index >> 6) &* 8)
    let item = base &+ first &+ UInt(owner.index) &* UInt(layout.itemBytes)
    owner.state = bits >> UInt64(owner.index & 63) & 1 == 1 ? .free : cached.contains(item) ? .cached : .used
    return owner
  }

  /// Of kegs whose slabs the owner map does not know: all of them are gone through, some ten thousand at most.
  private func ownerByLists(_ address: UInt, _ root: RootCopy, _ arena: Range<UInt>, _ copies: Copies) throws(InspectionError) -> AddressOwner? {
    for place in try findZones(root, try readRegions(root), copies) {
      let zone = try copies.structure(Zone.self, at: place.zone), keg = try copies.structure(Keg.self, at: place.identity.keg)
      let layout = keg.pointee.layout
      guard zone.pointee.ownsKeg, keg.pointee.slabCount > 0, layout.isPossible else { continue }
      for list in [keg.pointee.partial, keg.pointee.full, keg.pointee.free] {
        var slab = UInt(bitPattern: list.first), steps = 0
        while slab != 0, steps < 10_000, let header = try? target.read(SlabHeaderCopy.self, at: slab) {
          let base = layout.isOffPage ? try? target.read(UInt.self, at: slab &- UInt(MemoryLayout<OffPagePrefix>.size)) : slab &- UInt(layout.headerOffset)
          guard let base, layout.lookup != .metadata || !arena.contains(base) else { break }
          if address &- base < UInt(layout.slabBytes) { return try owner(of: address, in: slab, header, keg, place.identity.keg, root, copies) }
          slab = header.next
          steps += 1
        }
      }
    }
    return nil
  }
}

extension SlabLayout {
  /// So that sums of it do not overflow.
  var isPossible: Bool {
    1...1 << 16 ~= items && size > 0 && itemBytes >= size && itemBytes <= 1 << 40 && 0...1 << 40 ~= firstItem && 0...1 << 40 ~= headerOffset
      && 0...1 << 44 ~= slabBytes
  }
}
