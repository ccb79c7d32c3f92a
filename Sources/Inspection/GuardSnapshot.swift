// SPDX-License-Identifier: BSD-2-Clause
//
// MemGuard's figures, read from outside.

import CPlatform
import Diagnostics
import Heap
import Pages

public struct GuardSnapshot: Equatable, Sendable {
  /// Addresses reserved for guarded blocks; all 0 where MemGuard has never been on.
  public var start = 0
  public var mapped = 0
  /// Of these, how many have been used, and how many regions of live blocks take, guards included.
  public var opened = 0
  public var used = 0
  /// Pages of live blocks, how much of them is not the blocks', and how much they may be.
  public var resident = 0
  public var wasted = 0
  public var limit = 0
  /// Live blocks, and all that have been guarded.
  public var live = 0
  public var guarded = 0
  /// Requests that the lot fell on, and those that were too small.
  public var hits = 0
  public var tooSmall = 0
  /// Requests that were declined: for want of addresses, at the limit, because the system refused.
  public var withoutAddresses = 0
  public var withoutPages = 0
  public var refused = 0
  /// Where the search for addresses goes on, how often it began anew, and reports.
  public var cursor = 0
  public var wraps = 0
  public var reports = 0

  public init() {}
}

extension SnapshotReader {
  /// Every figure is bounded, and none is negative.
  func readGuards(_ root: RootCopy, _ copies: Copies) throws(InspectionError) -> GuardSnapshot {
    let state = root.part(MemGuard.self, RootLayout.memguardOffset)
    func figure(_ value: Int64) -> Int { Int(max(0, min(value, 1 << 60))) }
    func figure(_ value: UInt) -> Int { Int(min(value, 1 << 60)) }
    var guards = GuardSnapshot()
    guard state.pointee.bytes > 0 else { return guards }
    guards.start = figure(state.pointee.start)
    guards.mapped = figure(state.pointee.bytes)
    let page = UInt(root.part(RootHeader.self, 0).pointee.pageBytes)
    guards.opened = figure(state.pointee.reached(page))
    guards.used = figure(state.pointee.mappedBytes)
    guards.resident = figure(state.pointee.usedBytes)
    guards.wasted = figure(state.pointee.wastedBytes)
    guards.limit = figure(state.pointee.limit)
    guards.guarded = figure(state.pointee.guarded)
    guards.live = max(0, guards.guarded - figure(state.pointee.freed))
    guards.hits = figure(state.pointee.hits)
    guards.withoutAddresses = figure(state.pointee.withoutAddresses)
    guards.withoutPages = figure(state.pointee.withoutPages)
    guards.refused = figure(state.pointee.refused)
    guards.wraps = figure(state.pointee.wraps)
    guards.reports = figure(state.pointee.reports)
    guards.cursor = figure(state.pointee.cursorAddress(page))
    let lots = try copies.bytes(Int(STAVE_LOTS) * MemoryLayout<stave_lot>.stride, at: UInt(bitPattern: state.pointee.lots))
      .assumingMemoryBound(to: stave_lot.self)
    for index in 0..<Int(STAVE_LOTS) { guards.tooSmall = figure(Int64(guards.tooSmall) &+ Int64(figure(lots[index].too_small))) }
    return guards
  }
}
