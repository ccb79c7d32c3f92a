// SPDX-License-Identifier: BSD-2-Clause
//
// Requests and frees of zones over several memory domains (ZoneDomains has the essay), and what is to be done for each part of one.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// An item of a memory domain, for a zone with `firstTouch`, whatever CPU asks: from that domain's caches, or its slabs; with `wait`
  /// only from there, however long it takes. Where the domain has no memory, from the next that has. Items guarded by MemGuard are of
  /// none, and so it gives none. Nil as `allocate`; also for other zones and domains that are not, which is reported.
  public func allocate(domain: Int, _ flags: WaitFlags = .noWait, argument: UnsafeMutableRawPointer? = nil) -> UnsafeMutableRawPointer? {
    guard pointee.flags.contains(.firstTouch), domain >= 0, domain < memoryDomains.count else { return refuseDomain(domain) }
    guard let domains = pointee.domains else { return allocate(flags, argument: argument) }
    let flags = flags.checked
    #if STAVE_CHECK_LOCKS
    if flags.maySleep { checkMaySleep() }
    #endif
    let part = domains.pointee.parts[domains.number(near: domain)]!
    var isRefused = false
    guard let item = part.popItem() ?? part.refill(flags, &isRefused) ?? part.waitForMemory(flags, &isRefused) else {
      noteFailure()
      return nil
    }
    return hand(item, flags, argument)
  }

  /// The memory domain that an item of this zone is in; -1 for an address in none of its slabs. 0, whatever the address, for zones without
  /// a policy.
  public func domain(of item: UnsafeMutableRawPointer?) -> Int {
    guard pointee.domains != nil else { return 0 }
    return ownPart(of: UInt(bitPattern: item)).map { Int($0.part.pointee.keg.pointee.domain) } ?? -1
  }

  /// The part in one of whose slabs an address is. A few loads for each domain.
  private func ownPart(of address: UInt) -> (part: ZonePointer, slab: SlabPointer)? {
    guard case .slab(let header) = ownerMap.pointee.owner(of: address) else { return nil }
    let slab = header.assumingMemoryBound(to: Slab.self)
    return pointee.domains!.part(number: slab.pointee.kegIndex).map { ($0, slab) }
  }

  @inline(never)
  private func refuseDomain(_ domain: Int) -> UnsafeMutableRawPointer? {
    var report = Report("bad request")
    report.text("an item of memory domain ")
    report.address(UInt(bitPattern: domain))
    report.text(" of zone ")
    report.name(pointee.name)
    report.text("\n")
    report.finish(next: "zones with the flag firstTouch give items of a domain, of those that the machine has")
    return nil
  }

  // MARK: - What a front does

  /// Of this CPU's domain, else of another: who may wait waits for his own last.
  func refillNear(_ flags: WaitFlags, _ isRefused: inout Bool) -> UnsafeMutableRawPointer? {
    let domains = pointee.domains!, near = domains.numberHere
    let impatient = flags.subtracting(.wait).subtracting(.canFail).union(.noWait)
    for turn in 0..<domains.pointee.count {
      guard let part = domains.pointee.parts[(near + turn) % domains.pointee.count] else { continue }
      // At the limit there may be something in the caches of others.
      if let item = part.popItem() ?? (isRefused ? part.refillFromDepot() : part.refill(impatient, &isRefused)) {
        isRefused = false
        return item
      }
      if isRefused && !isExhausted { break }
    }
    guard flags.contains(.wait) else { return nil }
    isRefused = false
    return domains.pointee.parts[near]!.refill(flags, &isRefused)
  }

  private func popItem() -> UnsafeMutableRawPointer? { pointee.cell != 0 ? CPUCache.pop(pointee.cell) : nil }
  private func refillFromDepot() -> UnsafeMutableRawPointer? { takeBucket().map { refill(from: $0) } }

  /// To the part of the item's domain: this CPU's cell for it, or, while somebody waits, its slab. What is none of our items is reported.
  func freeHome(_ item: UnsafeMutableRawPointer, stack: UInt32) -> Bool {
    let domains = pointee.domains!
    guard let (part, slab) = ownPart(of: item.address), part.pointee.keg.index(of: item.address, in: slab) != nil else {
      reportBadFree("free of an address that is no item of the zone", item.address, keg: pointee.keg)
      return false
    }
    if Int(part.pointee.keg.pointee.domain) != domains.numberHere { stave_add(&pointee.crossFrees, 1) }
    if pointee.flags.contains(.awaited) {
      stave_add(&pointee.directFrees, 1)
      var address = item.address
      return release(&address, count: 1, stack: stack) == 1
    }
    if part.pointee.cell != 0, CPUCache.push(part.pointee.cell, item) == .pushed { return true }
    return part.freeSlow(item, stack: stack)
  }

  /// Straight from the parts' kegs: with `roundRobin` as many from each, from another one first each time; else from the nearest.
  func fetchOfParts(_ items: UnsafeMutablePointer<UInt>, count: Int, _ flags: WaitFlags) -> Int {
    let domains = pointee.domains!, isNear = pointee.flags.contains(.divided)
    let share = isNear ? count : (count + domains.pointee.partCount - 1) / domains.pointee.partCount
    let turn = isNear ? 0 : Int(stave_add_fetching(&domains.pointee.turn, 1)) % domains.pointee.count
    let first = isNear ? domains.numberHere : domains.number(near: turn)
    let impatient = flags.subtracting(.wait).subtracting(.canFail).union(.noWait)
    var taken = 0, isRefused = false
    for turn in 0..<domains.pointee.count where taken < count {
      guard let part = domains.pointee.parts[(first + turn) % domains.pointee.count] else { continue }
      let more = part.pointee.keg.take(into: items + taken, count: Swift.min(share, count - taken), flags: impatient)
      if more == KegPointer.refused { isRefused = true } else { taken += more }
    }
    // Who waits has its last try below, whatever a hook says to those who do not.
    guard taken == 0, flags.contains(.wait) else { return taken == 0 && isRefused ? KegPointer.refused : taken }
    return domains.pointee.parts[first]!.pointee.keg.take(into: items, count: share, flags: flags)
  }

  /// The part whose depot gives or gets a bucket.
  func chooseDepot(isTaking: Bool) -> ZonePointer {
    let domains = pointee.domains!
    var loads = DomainLoads()
    for domain in 0..<domains.pointee.count {
      if let part = domains.pointee.parts[domain] { loads.add(part.pointee.depotItems, in: domain) }
    }
    let near = domains.numberHere
    return domains.pointee.parts[isTaking ? loads.source(near: near) : loads.target(near: near)]!
  }

  // MARK: - All parts

  /// Of what is in a memory domain alone; but the CPUs' caches of a zone with `roundRobin`, which hold items of all, are emptied. A zone
  /// without a policy is in domain 0.
  public func reclaim(_ request: Reclaim, domain: Int) {
    if pointee.domains == nil {
      if domain == 0 { reclaimAlone(request) }
    } else {
      forEachPart { if Int($0.pointee.keg.pointee.domain) == domain { $0.reclaimAlone(request) } }
      if request == .drainCPU && pointee.cell != 0 { reclaimAlone(request) }
    }
  }

  /// Calls `body` with each part of a front. False, and nothing done, for any other zone.
  @discardableResult
  public func forEachPart(_ body: (ZonePointer) -> Void) -> Bool {
    guard let domains = pointee.domains, !pointee.flags.contains(.part) else { return false }
    for domain in 0..<domains.pointee.count { if let part = domains.pointee.parts[domain] { body(part) } }
    return true
  }

  func drainKegsOfParts() {
    let domains = pointee.domains!
    for domain in 0..<domains.pointee.count { domains.pointee.parts[domain]?.pointee.keg.drain() }
  }

  /// Of what is for the zone, a part's.
  func share(of count: Int) -> Int {
    let parts = pointee.domains!.pointee.partCount
    return count <= 0 ? 0 : (count - 1) / parts + 1
  }

  /// Its parts' kegs are theirs, and not another zone's.
  var ownsParts: Bool {
    var isOwn = false
    forEachPart { if !$0.pointee.flags.contains(.secondary) { isOwn = true } }
    return isOwn
  }

  /// Items in the depot, and in those of its parts.
  public var depotItemsInAll: Int {
    var sum = pointee.depotItems
    forEachPart { sum += $0.pointee.depotItems }
    return sum
  }

  /// Items of all slabs.
  public var capacity: Int {
    var sum = 0
    if !forEachPart({ sum += $0.pointee.keg.capacity }) { sum = pointee.keg.capacity }
    return sum
  }

  /// At rest: what lies in a part's caches and slabs is of its domain.
  public func checkDomains() {
    forEachPart { part in
      let keg = part.pointee.keg
      part.pointee.keg.checkInvariants()
      precondition(part.pointee.domains == pointee.domains && part.pointee.flags.contains(.part), "a part of another zone")
      precondition(pointee.domains!.pointee.parts[Int(keg.pointee.domain)] == part, "a part that stands for another domain")
      func check(_ items: UnsafePointer<UInt>, _ count: Int) {
        for index in 0..<count { precondition(part.ownerKeg(of: items[index]) == keg, "an item in the caches of another domain") }
      }
      guard pointee.flags.contains(.divided) else { return }
      part.pointee.depotLock.lock()
      var next = part.pointee.full
      while let bucket = next {
        check(bucket.items, Int(bucket.pointee.count))
        next = bucket.pointee.next
      }
      part.pointee.depotLock.unlock()
      guard part.pointee.cell != 0 else { return }
      CPUCache.forEachRegion { cells in
        let cell = cells + part.pointee.cell
        if let slots = cell.pointee.slots { check(slots, Int(cell.pointee.word & 0xffff)) }
      }
    }
  }
}

extension UnsafeMutablePointer where Pointee == Keg {
  fileprivate var capacity: Int { pointee.slabCount * pointee.layout.items }
}

extension UnsafeMutablePointer where Pointee == ZoneDomains {
  /// The part nearest to the CPU that this thread is on.
  fileprivate var numberHere: Int { number(near: CPUCache.currentCPU.map { memoryDomains.domain(ofCPU: $0) } ?? 0) }
}

/// `reclaimAll` for a memory domain alone.
public func reclaimAll(_ request: Reclaim, domain: Int) {
  forEachZone { zone in
    guard !zone.pointee.flags.intersects(ZoneFlags.unmanaged.union(.part)) else { return }
    zone.whileReclaiming { zone.reclaim(request, domain: domain) }
  }
  drainZonesOwn()
}
