// SPDX-License-Identifier: BSD-2-Clause
//
// stave_zone.h: deferred reuse. Contexts, sections of readers, goals of writers, and the items of zones that have a context.

import CPlatform
import Zones

@_silgen_name("stave_smr_create")
public func smrCreate() -> SMRPointer? {
  guard isReady(), let smr = makeSMR() else {
    _ = stave_no_memory()
    return nil
  }
  return smr
}

/// 0, or -1 with EBUSY.
@_silgen_name("stave_smr_destroy")
public func smrDestroy(_ smr: SMRPointer?) -> Int32 {
  guard let smr, !smr.destroy() else { return 0 }
  stave_set_errno(16)
  return -1
}

@_silgen_name("stave_smr_enter")
public func smrEnter(_ smr: SMRPointer) { smr.enter() }

@_silgen_name("stave_smr_exit")
public func smrExit(_ smr: SMRPointer) { smr.exit() }

@_silgen_name("stave_smr_advance")
public func smrAdvance(_ smr: SMRPointer) -> UInt64 { smr.advance() }

@_silgen_name("stave_smr_poll")
public func smrPoll(_ smr: SMRPointer, _ goal: UInt64) -> Int32 { smr.poll(goal) ? 1 : 0 }

@_silgen_name("stave_smr_wait")
public func smrWait(_ smr: SMRPointer, _ goal: UInt64) -> Int32 { smr.poll(goal, wait: true) ? 1 : 0 }

@_silgen_name("stave_smr_synchronize")
public func smrSynchronize(_ smr: SMRPointer) -> Int32 { smr.synchronize() ? 1 : 0 }

@_silgen_name("stave_zone_get_smr")
public func zoneGetSMR(_ zone: ZonePointer) -> SMRPointer? { zone.smr }

@_silgen_name("stave_zone_alloc_smr")
public func zoneAllocSMR(_ zone: ZonePointer, _ flags: Int32) -> UnsafeMutableRawPointer? { zone.allocateSMR(WaitFlags(rawValue: flags)) }

@_silgen_name("stave_zone_free_smr")
public func zoneFreeSMR(_ zone: ZonePointer, _ item: UnsafeMutableRawPointer?) { zone.freeSMR(item) }
