// SPDX-License-Identifier: BSD-2-Clause
//
// For which types the probes of malloc and free fire: a bit in each type's record, by a list of names. Names are kept as hashes, so
// that a type which comes later is on the list too, and all types of one name are.

import CPlatform
import Primitives

/// All zeros: the probes fire for every type.
public struct TracedTypes {
  public var mode: UInt32 = TraceMode.all
  var count: UInt32 = 0
  /// Names that a list may have.
  public static var most: Int { 16 }
  var names: InlineArray<16, UInt64> = InlineArray(repeating: 0)
  /// Memory without a type.
  var isPlainSilent = false

  public init() {}

  func includes(_ name: borrowing FixedName) -> Bool {
    guard mode == TraceMode.listed else { return mode == TraceMode.all }
    let hash = name.longHash
    for index in 0..<Int(count) where names[index] == hash { return true }
    return false
  }
}

public enum TraceMode {
  public static let all: UInt32 = 0
  public static let none: UInt32 = 1
  /// Those last named.
  public static let listed: UInt32 = 2
}

extension UnsafeMutablePointer where Pointee == TypesState {
  /// For all types, none, or those last named.
  public func trace(_ mode: UInt32) {
    pointee.lock.lock()
    pointee.traced.mode = mode
    updateTraced()
    pointee.lock.unlock()
  }

  /// For the types of this name, by its hash; and for those named before, unless it is the first. False if there are too many.
  public func trace(named hash: UInt64, isFirst: Bool) -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    if isFirst { pointee.traced.count = 0 }
    guard pointee.traced.count < TracedTypes.most else { return false }
    pointee.traced.names[Int(pointee.traced.count)] = hash
    pointee.traced.count += 1
    pointee.traced.mode = TraceMode.listed
    updateTraced()
    return true
  }

  private func updateTraced() {
    pointee.traced.isPlainSilent = !pointee.traced.includes(FixedName("malloc"))
    var next = pointee.first
    while let type = next {
      type.pointee.isSilent = !pointee.traced.includes(type.pointee.name)
      next = type.pointee.next
    }
  }

  /// The name that probes show, its address, and the number; nil where they are to be silent. What an ended type has left is memory
  /// without a type.
  @inline(__always)
  public func traced(_ number: UInt32) -> (name: UInt, number: UInt32)? {
    guard number != 0, let type = type(Int(number)), !type.pointee.isEnded else {
      return pointee.traced.isPlainSilent ? nil : (UInt(bitPattern: stave_plain_type_name()), 0)
    }
    return type.pointee.isSilent ? nil : withUnsafeMutablePointer(to: &type.pointee.name) { (UInt(bitPattern: $0), number) }
  }
}

extension FixedName {
  /// FNV-1a, of 64 bits.
  public var longHash: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for index in 0..<count { hash = (hash ^ UInt64(bytes[index])) &* 0x100_0000_01b3 }
    return hash
  }
}

/// Calls `body` with the hash of each name of a list like "images+sqlite". A plus sign beside another one is part of a name, as in
/// "libstdc++.so.6".
public func forEachTypeName(in text: UnsafeBufferPointer<UInt8>, _ body: (UInt64) -> Void) { forEachName(in: text) { body($0.longHash) } }

func forEachName(in text: UnsafeBufferPointer<UInt8>, _ body: (FixedName) -> Void) {
  let plus = UInt8(ascii: "+")
  func separates(_ index: Int) -> Bool {
    text[index] == plus && (index == 0 || text[index - 1] != plus) && (index + 1 == text.count || text[index + 1] != plus)
  }
  var name = FixedName()
  var length = 0
  for index in 0...text.count {
    if index < text.count && !separates(index) {
      if length < 31 { name.bytes[length] = text[index] }
      length += 1
    } else {
      if length > 0 { body(name) }
      name = FixedName()
      length = 0
    }
  }
}
