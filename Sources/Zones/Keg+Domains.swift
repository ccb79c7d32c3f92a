// SPDX-License-Identifier: BSD-2-Clause
//
// Where a slab's pages lie that do not come from a run of a memory domain (DomainRuns) or a reserved range, which have their policies
// already: an author's pages in the keg's domain, if it is of one; those of copies for CPUs each in its CPU's. It is asked for before
// anybody touches them, and no longer when they go back. Where there is one domain, and where domains are made up, nothing is asked.
//
// It is called by way of a pointer: a program without such zones does not have it linked in.

import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == MemoryDomains {
  /// As `look`, for zones whose slabs may have to be placed.
  func lookForZones() {
    look()
    pointee.placeSlab = {
      let keg = $0.assumingMemoryBound(to: Keg.self)
      return $2 ? keg.placePages($1) : keg.displacePages($1)
    }
  }
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// Calls `body` with each part of a slab that is to have a policy.
  @inline(never)
  private func forEachPlace(_ body: (_ offset: Int, _ bytes: Int, _ domain: Int) -> Void) {
    guard pointee.flags.contains(.perCPU) else {
      if pointee.domain != 255 && !pointee.source.isOurs && pointee.range == nil { body(0, pointee.layout.slabBytes, Int(pointee.domain)) }
      return
    }
    // CPUs of one domain that follow each other have one.
    let cpus = pointee.layout.slabBytes / pageBytes
    var first = 0
    for cpu in 1..<cpus + 1 {
      let near = memoryDomains.domain(ofCPU: first)
      if cpu < cpus && memoryDomains.domain(ofCPU: cpu) == near { continue }
      if memoryDomains.hasMemory(near) { body(first * pageBytes, (cpu - first) * pageBytes, near) }
      first = cpu
    }
  }

  private var policies: Int {
    var sum = 0
    forEachPlace { _, _, _ in sum += 1 }
    return sum
  }

  /// Whether they have policies then, all or as many as the system gives them.
  fileprivate func placePages(_ start: UnsafeMutableRawPointer) -> Bool {
    guard let place = memoryDomains.pointee.place, policies > 0, memoryDomains.claim(policies) else { return false }
    forEachPlace { _ = place(start.address + UInt($0), $1, Int32($2)) }
    return true
  }

  /// False where the system refuses: then nobody else may have the pages.
  fileprivate func displacePages(_ start: UnsafeMutableRawPointer) -> Bool {
    guard let place = memoryDomains.pointee.place else { return true }
    guard place(start.address, pointee.layout.slabBytes, -1) else { return false }
    memoryDomains.unclaim(policies)
    return true
  }
}
