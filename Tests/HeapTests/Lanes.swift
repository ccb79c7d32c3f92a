// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of MemGuard's lane share: blocks there, children, and a block that cannot be moved.

import CPlatform
import Foundation

@testable import Diagnostics
@testable import Heap
@testable import Primitives
@testable import TestSupport

/// Where blocks of the lane were that are freed.
func freedBlocks(_ count: Int) -> [UInt] {
  var places: [UInt] = []
  var tries = 0
  while places.count < count {
    tries += 1
    precondition(tries < 1000 + 100 * count, "freed blocks do not lie in the lane")
    let block = Heap.allocate(100)!
    fill(block, 100, 1)
    Heap.free(block)
    let page = UInt32((block.address - memGuard.pointee.start) / 4096)
    if memGuard.isInLane(page) { places.append(block.address) }
  }
  return places
}

/// In a child of fork: what `body` answers, less than 200.
func inChild(withHandlers: Bool, _ body: () -> Int) -> Int {
  if withHandlers { Heap.prepareFork() }
  let child = libcFork()
  if child == 0 {
    if withHandlers { Heap.childAfterFork() }
    _exit(Int32(body()))
  }
  if withHandlers { Heap.parentAfterFork() }
  var status: Int32 = 0
  precondition(waitpid(child, &status, 0) == child && status & 0x7f == 0, "\(status)")
  return Int(status >> 8)
}

/// How many of them can be read that are no ready region's.
func openPlaces(_ places: [UInt]) -> Int { places.count { memGuard.block(around: $0) != nil && isReadable($0) } }

func usePair(_ size: UInt = 100) { Heap.free(Heap.allocate(size)) }

/// Of this process's map.
func mapLines() -> Int { kernelText("/proc/self/maps").utf8.count { $0 == 10 } }

func touch(_ address: UInt) { UnsafeMutablePointer<UInt8>(bitPattern: address)!.pointee = 1 }

/// As in Stave's own thread, whose descriptors are not the program's.
func asOwnThread(_ body: () -> Void) {
  stave_set_own_thread(stave_thread_pointer())
  body()
  stave_set_own_thread(0)
}

/// A child of fork that shares this block, whose page so cannot be moved, and looks at its end whether it holds what it held.
struct Sharer {
  private let child: pid_t
  private let end: Int32

  init(_ block: UnsafeMutableRawPointer, _ size: Int, _ mark: UInt8) {
    var ends: [Int32] = [0, 0]
    precondition(pipe(&ends) == 0)
    child = libcFork()
    if child == 0 {
      var byte: UInt8 = 0
      close(ends[1])
      _exit(read(ends[0], &byte, 1) == 0 && holds(block, size, mark) ? 0 : 1)
    }
    close(ends[0])
    end = ends[1]
  }

  func finish() {
    close(end)
    var status: Int32 = 0
    precondition(waitpid(child, &status, 0) == child && status == 0, "\(status)")
  }
}
