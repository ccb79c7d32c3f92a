// SPDX-License-Identifier: BSD-2-Clause
//
// The sample that otel_memory's probes are about: each allocated byte has the chance 1 / `otel_rate` to make its block one.
//
// A block of s bytes is a sample with probability min(1, s / rate), and stands for max(s, rate) bytes: what it is expected to stand for
// is s in either case, without exponentials, and a large block, which always is one, stands for itself exactly.
//
// Samples are kept in a table of rows by a hash of the address; a look is at one cache line. A row that is full takes no other,
// and then there is no sample: rare (one in some 5,000) while 16,384 samples are alive, which at the default rate are 8 GiB.

import CPlatform
import Pages
import Primitives
import Zones

enum Sampling {
  /// How many bytes a block of this size stands for; 0 if it is no sample.
  static func weight(ofNext size: UInt) -> UInt {
    let rate = UInt(heap.pointee.options[.otelRate])
    if size >= rate { return size }
    return chance(below: rate) < size ? rate : 0
  }

  /// Evenly from 0 to `bound` - 1: splitmix, a state for each CPU.
  private static func chance(below bound: UInt) -> UInt {
    let cpu = CPUCache.currentCPU ?? 0
    let place = cpu & (Int(STAVE_SAMPLE_STATES) - 1)
    var word = stave_step_sample_state(stave_sample_states() + place * 8) &+ UInt64(bitPattern: root.pointee.started) &+ UInt64(place) << 56
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    word ^= word >> 31
    return UInt(word).multipliedFullWidth(by: bound).high
  }

  @inline(__always)
  private static func row(of address: UInt) -> UnsafeMutablePointer<UInt64> {
    // Twice: once would send blocks of some sizes that lie side by side to few rows.
    var hash = UInt64(address) &* 0x9E37_79B9_7F4A_7C15
    hash = ((hash ^ hash >> 32) &* 0x9E37_79B9_7F4A_7C15) >> (64 - UInt64(STAVE_SAMPLE_BITS))
    return stave_samples() + Int(hash) / Int(STAVE_SAMPLE_ROW) * Int(STAVE_SAMPLE_ROW)
  }

  /// False if there is no room.
  static func remember(_ address: UInt) -> Bool {
    let row = row(of: address)
    for way in 0..<Int(STAVE_SAMPLE_ROW) {
      let word = stave_load64(row + way)
      if word == UInt64(address) || word == 0 && stave_replace_sample(row + way, 0, UInt64(address)) { return true }
    }
    return false
  }

  /// Whether it was a sample.
  static func forget(_ address: UInt) -> Bool {
    let row = row(of: address)
    for way in 0..<Int(STAVE_SAMPLE_ROW) where stave_load64(row + way) == UInt64(address) {
      return stave_replace_sample(row + way, UInt64(address), 0)
    }
    return false
  }

  static func forgetAll() {
    for place in 0..<(1 << Int(STAVE_SAMPLE_BITS)) where stave_load64(stave_samples() + place) != 0 { stave_store64(stave_samples() + place, 0) }
  }
}
