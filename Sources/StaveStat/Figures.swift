// SPDX-License-Identifier: BSD-2-Clause
//
// The numbers by which C asks for figures.

import CStaveStat
import Inspection

extension StatisticsEntry {
  /// 0 for what is not there.
  func value(_ what: Int32) -> UInt64 {
    switch Int(what) {
    case STAVESTAT_COUNT: count
    case STAVESTAT_BYTES: bytes
    case STAVESTAT_ALLOCATIONS: figures.allocations
    case STAVESTAT_FREES: figures.frees
    case STAVESTAT_ALLOCATED_BYTES: figures.allocatedBytes
    case STAVESTAT_FREED_BYTES: figures.freedBytes
    case STAVESTAT_FAILURES: figures.failures
    case STAVESTAT_SIZE_MASK: figures.sizes
    case STAVESTAT_FREE: free
    case STAVESTAT_SIZE: figures.size
    case STAVESTAT_ITEM_BYTES: figures.itemBytes
    case STAVESTAT_LIMIT: figures.countLimit
    case STAVESTAT_SLEEPS: figures.sleeps
    case STAVESTAT_CROSS_DOMAIN: figures.crossDomain
    case STAVESTAT_ZONE_FREE: figures.zoneFree
    case STAVESTAT_KEG_FREE: figures.kegFree
    case STAVESTAT_PAGES: figures.pages
    case STAVESTAT_BUCKET_SIZE: figures.bucketSize
    default: 0
    }
  }
}

extension StatisticsCPU {
  func value(_ what: Int32) -> UInt64 {
    switch Int(what) {
    case STAVESTAT_ALLOCATIONS: allocations
    case STAVESTAT_FREES: frees
    case STAVESTAT_ALLOCATED_BYTES: allocatedBytes
    case STAVESTAT_FREED_BYTES: freedBytes
    case STAVESTAT_SIZE_MASK: sizes
    case STAVESTAT_FREE: free
    default: 0
    }
  }
}
