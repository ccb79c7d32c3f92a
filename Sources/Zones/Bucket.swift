// SPDX-License-Identifier: BSD-2-Clause
//
// A bucket: an array of item addresses with a count and a capacity, the unit moved between a CPU's cache and the zone.
// Header and array make a power of two. Buckets come from internal zones, one for each of eight sizes, made when first
// needed; those never ask for buckets themselves, so the recursion ends there.

import CPlatform
import Pages
import Primitives

public struct Bucket {
  public var next: UnsafeMutablePointer<Bucket>?
  public var count: UInt16
  public var capacity: UInt16
  /// Of a bucket whose items wait for readers: of the goal that has to expire (Deferral).
  var stamp: UInt32

  /// How many items of a size are worth caching: fewer as items grow (L13).
  public static func desiredCapacity(itemBytes: Int) -> Int {
    switch itemBytes {
    case ...64: 254
    case ...128: 126
    case ...256: 62
    case ...512: 30
    case ...1024: 16
    case ...2048: 8
    case ...3072: 4
    case ...4096: 2
    default: 1
    }
  }

  /// The size of bucket that serves a request for `count` items: the smallest with room, else the largest.
  static func sizeIndex(for count: Int) -> Int {
    var index = 0
    while index < 7 && capacityOf(index) < count { index += 1 }
    return index
  }

  static func capacityOf(_ index: Int) -> Int { index < 4 ? 2 << index : (16 << (index - 3)) - 2 }

  /// An empty bucket for `count` items, nil if memory is not to be had. Never sleeps.
  static func allocate(capacity count: Int, flags: WaitFlags = .noWait) -> UnsafeMutablePointer<Bucket>? {
    let index = sizeIndex(for: count)
    let asks = !flags.contains(.noVM) && CachePatience.mayAsk
    guard let keg = zones.pointee.bucketKeg(index) else { return nil }
    guard let raw = keg.takeOne(flags: asks ? flags : flags.union(.noVM)) else {
      if asks { CachePatience.noteRefusal() }
      return nil
    }
    let bucket = raw.assumingMemoryBound(to: Bucket.self)
    bucket.initialize(to: Bucket(next: nil, count: 0, capacity: UInt16(capacityOf(index)), stamp: 0))
    return bucket
  }

  /// The bucket is empty.
  static func free(_ bucket: UnsafeMutablePointer<Bucket>) {
    zones.pointee.bucketKeg(sizeIndex(for: Int(bucket.pointee.capacity)))!.giveOne(UnsafeMutableRawPointer(bucket))
  }
}

extension UnsafeMutablePointer where Pointee == Bucket {
  @inline(__always)
  public var items: UnsafeMutablePointer<UInt> {
    UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UInt.self)
  }

  func checkInvariants() {
    precondition(pointee.count <= pointee.capacity, "bucket holds more than it can (L14)")
  }
}
