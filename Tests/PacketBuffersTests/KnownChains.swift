// SPDX-License-Identifier: BSD-2-Clause
//
// Chains whose bytes are known, for the tests of single operations.

import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

private let knownBytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8) }

protocol KnownChains {}

extension KnownChains {
  var bytes: [UInt8] { knownBytes }

  /// Mbufs of these lengths, of which negative ones have clusters; `leading` bytes of room before each.
  func chain(_ lengths: [Int], leading: Int = 0, isPacket: Bool = true) -> MbufPointer {
    var copies = Copies(first: nil, last: nil), done = 0
    for (index, length) in lengths.enumerated() {
      let flags: MbufFlags = isPacket && index == 0 ? .packetHeader : .none
      let mbuf = length < 0 ? packets.getPacket(flags: flags)! : packets.get(flags: flags)!
      mbuf.pointee.data += leading
      bytes.withUnsafeBytes { mbuf.take(abs(length), from: $0.baseAddress! + done) }
      done += abs(length)
      copies.add(mbuf)
    }
    if isPacket { copies.first!.fixHeader() }
    return copies.first!
  }

  func expectBytes(_ chain: MbufPointer, _ range: Range<Int>, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(chain.content == Array(bytes[range]), sourceLocation: sourceLocation)
    #expect(chain.sanity(), sourceLocation: sourceLocation)
  }
}
