// SPDX-License-Identifier: BSD-2-Clause
//
// A set of flags in one word. The standard library's OptionSet can be made from an array literal, which the core may not
// allocate; this is what is left of it.

public protocol FlagSet: Equatable, Sendable {
  associatedtype RawValue: FixedWidthInteger
  var rawValue: RawValue { get }
  init(rawValue: RawValue)
}

extension FlagSet {
  @inlinable @inline(__always) public static var none: Self { Self(rawValue: 0) }
  @inlinable @inline(__always) public func contains(_ flags: Self) -> Bool { rawValue & flags.rawValue == flags.rawValue }
  @inlinable @inline(__always) public func union(_ flags: Self) -> Self { Self(rawValue: rawValue | flags.rawValue) }
  @inlinable @inline(__always) public func subtracting(_ flags: Self) -> Self { Self(rawValue: rawValue & ~flags.rawValue) }
  @inlinable @inline(__always) public func intersects(_ flags: Self) -> Bool { rawValue & flags.rawValue != 0 }
  @inlinable @inline(__always) public mutating func remove(_ flags: Self) { self = subtracting(flags) }
  @inlinable @inline(__always) public mutating func insert(_ flags: Self) { self = union(flags) }
}
