// SPDX-License-Identifier: BSD-2-Clause
//
// Of which types' memory guards are, by a list of names, as TracedTypes: a type that comes later is on the list too (L69). A name is
// compared when a type is registered and when the list changes, never an address, so another type in the same place is another type
// (L51). A name may also be a zone's, as "images-128": the type's memory of that size class.

import CPlatform
import Pages
import Primitives

/// All zeros: of every type.
public struct GuardedTypes {
  public var mode: UInt32 = TraceMode.all
  var count: UInt32 = 0
  var names: InlineArray<16, UInt64> = InlineArray(repeating: 0)
  /// Of the same place: the class and one, 0 for all of them.
  var classes: InlineArray<16, UInt8> = InlineArray(repeating: 0)
  /// Memory without a type.
  var plain: UInt8 = 0

  public init() {}

  public func guarding(_ name: borrowing FixedName) -> UInt8 {
    guard mode == TraceMode.listed else { return mode == TraceMode.all ? Guarding.all : Guarding.none }
    let hash = name.longHash
    var result = Guarding.none
    for index in 0..<Int(count) where names[index] == hash {
      if classes[index] == 0 { return Guarding.all }
      result = Guarding.someClasses
    }
    return result
  }

  func names(_ hash: UInt64, class wanted: Int) -> Bool {
    for index in 0..<Int(count) where names[index] == hash && (classes[index] == 0 || Int(classes[index]) == wanted + 1) { return true }
    return false
  }
}

public enum Guarding {
  public static var none: UInt8 { 0 }
  public static var all: UInt8 { 1 }
  public static var someClasses: UInt8 { 2 }
}

/// A name of a list as the library keeps it: its hash, and a class and one, or 0 for all.
public struct GuardedName: BitwiseCopyable {
  public var hash: UInt64
  public var sizeClass: UInt8

  public init(hash: UInt64, sizeClass: UInt8) { (self.hash, self.sizeClass) = (hash, sizeClass) }
}

@inline(__always)
public var guardedTypes: UnsafeMutablePointer<GuardedTypes> { rootState(GuardedTypes.self, at: RootLayout.guardedTypesOffset) }

extension UnsafeMutablePointer where Pointee == TypesState {
  /// For all types, none, or those last named.
  public func setGuarding(_ mode: UInt32) {
    pointee.lock.lock()
    guardedTypes.pointee.mode = mode
    updateGuarding()
    pointee.lock.unlock()
  }

  /// For the types of this name too; or only, if it is the first of a list. False if there are too many.
  public func setGuarding(_ name: GuardedName, isFirst: Bool) -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    if isFirst { guardedTypes.pointee.count = 0 }
    let place = Int(guardedTypes.pointee.count)
    guard place < 16, Int(name.sizeClass) <= SizeClass.count else { return false }
    guardedTypes.pointee.names[place] = name.hash
    guardedTypes.pointee.classes[place] = name.sizeClass
    guardedTypes.pointee.count += 1
    guardedTypes.pointee.mode = TraceMode.listed
    updateGuarding()
    return true
  }

  /// At the start, when memory without a type has not been looked at yet.
  public func updateGuarding() {
    guardedTypes.pointee.plain = guardedTypes.pointee.guarding(FixedName("malloc"))
    var next = pointee.first
    while let type = next {
      type.pointee.guarding = guardedTypes.pointee.guarding(type.pointee.name)
      next = type.pointee.next
    }
  }

  /// Whether memory of this type and size may be guarded; nil: without a type. One load, but where names are of zones.
  @inline(__always)
  public func guards(_ type: TypePointer?, _ size: UInt, isLarge: Bool) -> Bool {
    let guarding = type?.pointee.guarding ?? guardedTypes.pointee.plain
    return guarding == Guarding.all || guarding == Guarding.someClasses && !isLarge && guardsClass(type, SizeClass.index(for: Int(size)))
  }

  @inline(never)
  private func guardsClass(_ type: TypePointer?, _ index: Int) -> Bool {
    let hash = type?.pointee.name.longHash ?? FixedName("malloc").longHash
    return guardedTypes.pointee.names(hash, class: index)
  }
}

/// Calls `body` with each name of a list like "images+malloc-128": as that of a type, and, if it is a zone's, as that.
public func forEachGuardedName(in text: UnsafeBufferPointer<UInt8>, _ body: (GuardedName) -> Void) {
  forEachName(in: text) { name in
    body(GuardedName(hash: name.longHash, sizeClass: 0))
    var size = 0, scale = 1, length = name.count
    while length > 1, scale < 1_000_000, case let digit = name.bytes[length - 1], digit >= 48, digit <= 57 {
      size += Int(digit - 48) * scale
      scale *= 10
      length -= 1
    }
    guard scale > 1, name.bytes[length - 1] == UInt8(ascii: "-"), size > 0, size <= SizeClass.largest else { return }
    let index = SizeClass.index(for: size)
    guard SizeClass.size(index) == size else { return }
    var type = name
    for place in (length - 1)..<31 { type.bytes[place] = 0 }
    body(GuardedName(hash: type.longHash, sizeClass: UInt8(index + 1)))
  }
}
