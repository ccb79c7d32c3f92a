// SPDX-License-Identifier: BSD-2-Clause
//
// A map that comes to end earlier, at every place, against the map as it was.

import Primitives
import Testing

@testable import AddressMap
@testable import TestSupport

@Suite struct BoundsTests {
  @Test func `a map ends where it is told, unless an entry reaches beyond, and finds no space there`() {
    for end in 0...20 {
      for last in [nil, 0, 5, 18, 19] as [Int?] {
        let rig = Rig(page, 20 * page)
        if let last { rig.insert(1, 1 + UInt(last)) }
        let used = UInt(last ?? 0) + 1  // the first page behind entries
        let version = rig.map.pointee.version
        let isDone = rig.map.pointee.lowerMaximum(to: UInt(end) * page)
        #expect(isDone == (end > 1 && UInt(end) >= used || end > 1 && last == nil), "end \(end), entries up to \(used)")
        #expect(rig.violation == nil)
        #expect((rig.map.pointee.version != version) == isDone)
        #expect(rig.map.pointee.maximum == (isDone ? UInt(end) : 20) * page)
        let room = (isDone ? UInt(end) : 20) - used
        #expect(rig.map.pointee.largestGap == room * page)
        if room > 0 { #expect(rig.map.pointee.findSpace(SpaceRequest(length: room * page))?.address == used * page) }
        #expect(rig.map.pointee.findSpace(SpaceRequest(length: (room + 1) * page)) == nil)
      }
    }
  }
}
