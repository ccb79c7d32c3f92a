// SPDX-License-Identifier: BSD-2-Clause
//
// Zones over several memory domains in a look. In the target such a zone is a family: the one that its author knows, in front, and a part
// for each domain, a zone of its own (Zones/ZoneDomains). Tables show the one in front, with the sums of all, and what is in which domain
// beside it.

/// What a zone has in one memory domain.
public struct DomainCounts: Equatable, Sendable {
  /// The domain, from 0.
  public var number = 0
  /// By the keg's count.
  public var slabs = 0
  public var freeItems = 0
  public var freeSlabs = 0
  /// Items that are out of the slabs: in callers' hands or cached.
  public var items = 0
  /// Of them those in the domain's depot; the most and fewest of these in this period, the fewest since the last new maximum, and how
  /// many were needed lately.
  public var cachedInDepot = 0
  public var depotMost = 0
  public var depotLeast = 0
  public var depotBottom = 0
  public var workingSet = 0

  public init() {}

  init(_ zone: ZoneSnapshot) {
    (number, slabs, freeItems, freeSlabs) = (zone.domain, zone.slabs, zone.freeItems, zone.freeSlabs)
    items = max(0, zone.walkedSlabs &* zone.itemsPerSlab &- zone.walkedFreeItems)
    (cachedInDepot, depotMost, depotLeast) = (zone.cachedInDepot, zone.depotMost, zone.depotLeast)
    (depotBottom, workingSet) = (zone.depotBottom, zone.workingSet)
  }
}

extension ZoneSnapshot {
  /// What it has in a domain: all, if it is not over several, in domain 0.
  public func inDomain(_ number: Int) -> DomainCounts {
    if let known = domains.first(where: { $0.number == number }) { return known }
    return domains.isEmpty && number == 0 ? DomainCounts(self) : DomainCounts()
  }

  /// The domains are counted up to this.
  public var domainCount: Int { (domains.map(\.number).max() ?? 0) + 1 }

  /// Puts parts into the zones in front of them.
  static func gatherParts(_ zones: inout [ZoneSnapshot]) {
    var fronts: [UInt: Int] = [:]
    for (index, zone) in zones.enumerated() where zone.domainsPlace != 0 && !zone.isPart { fronts[zone.domainsPlace] = index }
    guard !fronts.isEmpty else { return }
    for part in zones where part.isPart { if let front = fronts[part.domainsPlace] { zones[front].absorb(part) } }
    zones.removeAll { $0.isPart && fronts[$0.domainsPlace] != nil }
  }

  private mutating func absorb(_ part: ZoneSnapshot) {
    if domains.isEmpty { kegs = [] }
    kegs += part.kegs
    domains.append(DomainCounts(part))
    if part.ownsKeg { (ownsKeg, kind) = (true, .plain) }
    isInArena = isInArena && part.isInArena
    (slabs, freeItems, freeSlabs) = (slabs &+ part.slabs, freeItems &+ part.freeItems, freeSlabs &+ part.freeSlabs)
    walkedSlabs &+= part.walkedSlabs
    walkedFreeItems &+= part.walkedFreeItems
    walkedFreeSlabs &+= part.walkedFreeSlabs
    for one in part.perCPU {
      if let known = perCPU.firstIndex(where: { $0.cpu == one.cpu }) {
        perCPU[known].cached &+= one.cached
        perCPU[known].allocations &+= one.allocations
        perCPU[known].frees &+= one.frees
      } else {
        perCPU.append(one)
      }
    }
    perCPU.sort { $0.cpu < $1.cpu }
    directAllocations &+= part.directAllocations
    directFrees &+= part.directFrees
    (taken, frees) = (taken &+ part.taken, frees &+ part.frees)
    allocations = max(frees, taken)
    failures &+= part.failures
    sleeps &+= part.sleeps
    cachedInDepot &+= part.cachedInDepot
    (depotMost, depotLeast) = (depotMost &+ part.depotMost, depotLeast &+ part.depotLeast)
    (depotBottom, workingSet) = (depotBottom &+ part.depotBottom, workingSet &+ part.workingSet)
    reserve &+= part.reserve
    allocationsMeanwhile &+= part.allocationsMeanwhile
    freesMeanwhile &+= part.freesMeanwhile
    isChanging = isChanging || part.isChanging
    mostInTransit = max(mostInTransit, part.mostInTransit)
  }
}
