// SPDX-License-Identifier: BSD-2-Clause
//
// Where a slab's pages lie: in the keg's memory domain, if it is of one; those of copies for CPUs each in its CPU's. It is asked for before
// anybody touches them, and no longer when they go back. Where there is one domain, and where domains are made up, nothing is asked.

import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  private var isPlaced: Bool { pointee.domain != 255 || pointee.flags.contains(.perCPU) }

  func placePages(_ start: UnsafeMutableRawPointer) {
    guard let place = memoryDomains.pointee.place, isPlaced else { return }
    guard pointee.flags.contains(.perCPU) else { return place(start.address, pointee.layout.slabBytes, Int32(pointee.domain)) }
    for cpu in 0..<pointee.layout.slabBytes / pageBytes {
      let near = memoryDomains.domain(ofCPU: cpu)
      if memoryDomains.hasMemory(near) { place(start.address + UInt(cpu * pageBytes), pageBytes, Int32(near)) }
    }
  }

  func displacePages(_ start: UnsafeMutableRawPointer) {
    guard let place = memoryDomains.pointee.place, isPlaced else { return }
    place(start.address, pointee.layout.slabBytes, -1)
  }
}
