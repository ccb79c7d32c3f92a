// SPDX-License-Identifier: BSD-2-Clause
//
// Limits of packet buffers as options: at start, and from outside while they are used. The packets themselves are not known here; what
// they have filled in (ZonesState) is called with the number of a limit.

import Pages
import Zones

extension Option {
  /// The number of the limit that it is, as PacketLimit has them; nil for other options.
  var packetLimit: Int32? {
    let number = rawValue - Option.nmbufs.rawValue
    return number >= 0 && number <= Option.nmbjumbo16.rawValue - Option.nmbufs.rawValue ? Int32(number) : nil
  }
}

extension Heap {
  /// For packets that have just begun: the limits of the options; for mbufs at least as many as clusters may be.
  public static func limitPackets() {
    guard let limit = zones.pointee.limitPackets else { return }
    var clusters = 0, before = 0, tries = 0
    func set(_ number: Int32, _ items: Int) {
      while items > 0 && limit(number, items, &before) == PacketLimitOutcome.busy {
        tries += 1
        pauseBriefly(after: tries)
      }
    }
    for number in 1..<5 {
      set(Int32(number), value(number))
      clusters += value(number)
    }
    if value(0) > 0 { set(0, max(value(0), clusters)) }
  }

  private static func value(_ number: Int) -> Int { Int(heap.pointee.options.values[Option.nmbufs.rawValue + number]) }

  /// What a letter asks for. Before there are packets it is what they will begin with. `notNow` where a limit is being changed at this moment.
  static func setPacketLimit(_ option: Option, _ number: Int32, to value: Int64) -> (status: UInt32, result: Int64) {
    guard root.pointee.isOwn == 1 else { return (MailStatus.noPackets, 0) }
    var before = Int(heap.pointee.options[option])
    if zones.pointee.limitPackets == nil { heap.pointee.options.values[option.rawValue] = value }
    // They may have begun meanwhile.
    if let limit = zones.pointee.limitPackets {
      let outcome = limit(number, Int(value), &before)
      if outcome == PacketLimitOutcome.busy { return (MailStatus.notNow, Int64(before)) }
      if outcome == PacketLimitOutcome.refused { return (MailStatus.badValue, Int64(before)) }
    }
    heap.pointee.options.values[option.rawValue] = value
    return (MailStatus.done, Int64(before))
  }
}
