// SPDX-License-Identifier: BSD-2-Clause
//
// Chains of every shape, what is in them, and what of the zones is out.

import Accounting
import Foundation
import Synchronization
import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

/// Items of each zone, and tags, that somebody has.
struct Out: Equatable {
  var items: [Int]

  static var now: Out {
    let state = packets
    let zones = [
      state.pointee.mbufZone!, state.pointee.packetZone!, state.pointee.pageZone!, state.pointee.nineZone!, state.pointee.sixteenZone!,
    ]
    // A cluster that waits in the packet zone is nobody's.
    let clusters = PacketCounts(state).clusters.current
    return Out(items: zones.map { used($0) } + [clusters, state.pointee.tagType.map { Int(TypeTotals($0).used) } ?? 0])
  }
}

extension UnsafeMutablePointer where Pointee == Mbuf {
  var content: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: chainLength)
    let count = bytes.count
    bytes.withUnsafeMutableBytes { if count > 0 { copyData(0, count, to: $0.baseAddress!) } }
    return bytes
  }

  /// As `content ==`, without making an array.
  func holds(_ model: [UInt8]) -> Bool {
    guard chainLength == model.count else { return false }
    return model.withUnsafeBytes { bytes in
      var place = 0
      return apply(0, model.count) { piece, count in
        defer { place += count }
        return memcmp(piece, bytes.baseAddress! + place, count) == 0 ? 0 : 1
      } == 0
    }
  }

  var mbufs: [MbufPointer] { Array(sequence(first: self) { $0.pointee.next }) }
  var isAllWritable: Bool { mbufs.allSatisfy { $0.isWritable } }
  /// What an operation that leaves a chain as it was must leave.
  var shape: [String] {
    mbufs.map { "\($0) \($0.pointee.data) \($0.length) \($0.flags.rawValue) \($0.type.rawValue) \($0.hasHeader ? $0.packetLength : -1)" }
  }
}

/// Storage that tests lend: how often, and how often it came back.
enum Lent {
  static let lent = Atomic<Int>(0)
  static let returned = Atomic<Int>(0)
  static var out: Int { lent.load(ordering: .sequentiallyConsistent) - returned.load(ordering: .sequentiallyConsistent) }

  static let free: StorageFree = { buffer, _, _ in
    Foundation.free(buffer)
    Lent.returned.wrappingAdd(1, ordering: .sequentiallyConsistent)
  }

  static func buffer(_ size: Int) -> UnsafeMutableRawPointer {
    lent.wrappingAdd(1, ordering: .sequentiallyConsistent)
    return malloc(size)!
  }
}

func randomBytes(_ count: Int, _ generator: inout Generator) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: count + 8) { bytes, filled in
    for place in stride(from: 0, to: count, by: 8) {
      UnsafeMutableRawPointer(bytes.baseAddress! + place).storeBytes(of: generator.next(), as: UInt64.self)
    }
    filled = count
  }
}

/// An mbuf of a kind: 0 inside, 1 packet zone, 2 cluster attached, 3 page, 4 9 KiB, 5 16 KiB, 6 lent.
func makeMbuf(_ kind: Int, isFirst: Bool) -> MbufPointer {
  let flags: MbufFlags = isFirst ? .packetHeader : .none
  switch kind {
  case 0: return packets.get(.noWait, flags: flags)!
  case 1: return packets.getPacket(.noWait, flags: flags)!
  case 2:
    let mbuf = packets.get(.noWait, flags: flags)!
    precondition(mbuf.attachCluster())
    return mbuf
  case 3...5: return packets.getJumbo([Cluster.page, Cluster.nine, Cluster.sixteen][kind - 3], .noWait, flags: flags)!
  default:
    let mbuf = packets.get(.noWait, flags: flags)!
    mbuf.lend(Lent.buffer(3000), size: 3000, free: Lent.free)
    return mbuf
  }
}

/// A chain of these bytes, cut by lot into mbufs of all kinds, with room before and behind.
func makeChain(_ bytes: [UInt8], isPacket: Bool = true, kinds: Range<Int> = 0..<7, _ generator: inout Generator) -> MbufPointer {
  var copies = Copies(first: nil, last: nil), done = 0
  repeat {
    let mbuf = makeMbuf(kinds.lowerBound + generator.below(kinds.count), isFirst: isPacket && copies.first == nil)
    copies.add(mbuf)
    let leading = generator.below(4) == 0 ? 0 : generator.below(min(100, mbuf.room))
    mbuf.pointee.data += leading
    let most = min(bytes.count - done, mbuf.trailingSpace)
    // Now and then one is empty.
    let count = generator.below(12) == 0 ? 0 : generator.below(3) == 0 ? most : min(most, generator.size(upTo: 700))
    bytes.withUnsafeBytes { if count > 0 { mbuf.take(count, from: $0.baseAddress! + done) } }
    done += count
  } while done < bytes.count
  let first = copies.first!
  if isPacket { first.fixHeader() }
  return first
}

extension UnsafeMutablePointer where Pointee == PacketState {
  /// The n-th request from here on is refused; 0 for none.
  var refusing: Int {
    get { pointee.refusedRequest }
    nonmutating set { pointee.refusedRequest = newValue }
  }
}

/// Calls `body` with the first request from packet buffers refused, then the second, until none is; how many there are. `body` makes
/// what it needs, arms, does the one thing, and disarms, which says whether something was refused.
func refusingEachRequest(_ body: (_ arm: () -> Void, _ disarm: () -> Bool) -> Void) -> Int {
  for number in 1..<100 {
    var wasRefused = false
    let before = Out.now
    body({ packets.refusing = number }) {
      wasRefused = packets.refusing == 0
      packets.refusing = 0
      return wasRefused
    }
    let after = Out.now
    #expect(after == before, "request \(number): not the same is out as before")
    if !wasRefused { return number - 1 }
  }
  return 100
}
