// SPDX-License-Identifier: BSD-2-Clause
//
// Zones that share kegs: families. Of a keg's items that are out of its slabs nobody can tell from outside which zone has them, but the
// zones have counted theirs. One of a family, its first with slabs, stands for all: the slabs of all its kegs less what the others have
// counted is what it should have counted itself, so that a sum over zones and a walk over slabs agree for the family as they do for any
// other zone.

struct ZoneFamilies {
  private var parents: [UInt: UInt] = [:]

  /// The keg that stands for a family.
  private mutating func first(of keg: UInt) -> UInt {
    var keg = keg
    while let parent = parents[keg], parent != keg {
      parents[keg] = parents[parent] ?? parent
      keg = parent
    }
    return keg
  }

  private mutating func join(_ kegs: [UInt]) {
    for keg in kegs { parents[keg] = parents[keg] ?? keg }
    for keg in kegs.dropFirst() { parents[first(of: keg)] = first(of: kegs[0]) }
  }

  /// Fills in what zones know of each other.
  static func settle(_ zones: inout [ZoneSnapshot]) {
    var families = ZoneFamilies()
    for zone in zones { families.join(zone.kegs) }
    var members: [UInt: [Int]] = [:], owners: [UInt: Int] = [:]
    for (index, zone) in zones.enumerated() {
      guard let keg = zone.kegs.first else { continue }
      members[families.first(of: keg), default: []].append(index)
      if zone.ownsKeg { owners[keg] = index }
    }
    for index in zones.indices {
      zones[index].kegName = zones[index].kegs.compactMap { owners[$0].map { zones[$0].label } }.joined(separator: "+")
    }
    for family in members.values where family.count > 1 {
      for index in family { zones[index].sharesKeg = true }
      guard let chief = family.first(where: { zones[$0].ownsKeg }) else { continue }
      var held = 0
      for index in family where index != chief {
        held &+= zones[index].counted &+ zones[index].cached
        if zones[index].ownsKeg { held &-= zones[index].walkedSlabs &* zones[index].itemsPerSlab &- zones[index].walkedFreeItems }
        if zones[index].isChanging { zones[chief].isChanging = true }
      }
      (zones[chief].standsForFamily, zones[chief].heldByFamily) = (true, held)
    }
  }
}
