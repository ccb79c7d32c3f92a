// SPDX-License-Identifier: BSD-2-Clause
//
// stave_zone.h: who wants to hear when memory is short, and of limits of packet buffers.

import CPlatform
import Zones

@_silgen_name("stave_event_add")
public func eventAdd(_ event: Int32, _ handler: EventFunction?, _ argument: UnsafeMutableRawPointer?) -> Int32 {
  guard let event = MemoryEvent(rawValue: event), let handler else { return orInvalid(false) }
  return isReady() && events.add(event, handler, argument) ? 0 : noRoom()
}

@_silgen_name("stave_event_remove")
public func eventRemove(_ event: Int32, _ handler: EventFunction?, _ argument: UnsafeMutableRawPointer?) -> Int32 {
  guard let event = MemoryEvent(rawValue: event), let handler else { return orInvalid(false) }
  return orInvalid(isReady() && events.remove(event, handler, argument))
}

private func noRoom() -> Int32 {
  _ = stave_no_memory()
  return -1
}
