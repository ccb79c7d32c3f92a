// SPDX-License-Identifier: BSD-2-Clause
//
// Lists of malloc types by name, as options take them: for which types the probes of malloc and free fire, whose blocks get guard
// bytes, whose are guarded. Names are kept as hashes, so that a type which comes later is on the list too (L69), and all types of one
// name are. A name is compared when a type is registered and when the list changes, never an address, so another type in the same
// place is another type (L51); what came of it stands in the type's record, where a request costs one load.
//
// A name may also be a zone's, as "images-128": the type's memory of that size class.
//
// Lock: the types' own.

import CPlatform
import Pages
import Primitives

/// What a list is for.
public enum NameUse: Int, Sendable { case probes, redZone, guards }

public enum ListMode {
  public static let all: UInt32 = 0
  public static let none: UInt32 = 1
  /// Those last named.
  public static let listed: UInt32 = 2
}

/// What a list says of a type.
public enum Choice {
  public static var all: UInt8 { 0 }
  public static var none: UInt8 { 1 }
  public static var someClasses: UInt8 { 2 }
}

/// A name of a list as the library keeps it: its hash, and a size class and one, or 0 for all of them.
public struct ListedName: BitwiseCopyable, Hashable, Sendable {
  public var hash: UInt64
  public var sizeClass: UInt8

  public init(hash: UInt64, sizeClass: UInt8 = 0) { (self.hash, self.sizeClass) = (hash, sizeClass) }
}

/// All zeros: every type.
public struct TypeNames {
  /// Names that a list may have.
  public static var most: Int { 16 }
  public internal(set) var mode: UInt32
  public internal(set) var count: UInt32
  public internal(set) var hashes: InlineArray<16, UInt64>
  public internal(set) var classes: InlineArray<16, UInt8>
  /// What is said of memory without a type.
  public var plain: UInt8

  public func choice(of name: borrowing FixedName) -> UInt8 {
    guard mode == ListMode.listed else { return mode == ListMode.all ? Choice.all : Choice.none }
    let hash = name.longHash
    var result = Choice.none
    for index in 0..<Int(count) where hashes[index] == hash {
      if classes[index] == 0 { return Choice.all }
      result = Choice.someClasses
    }
    return result
  }

  func holds(_ name: ListedName) -> Bool {
    for index in 0..<Int(count) where hashes[index] == name.hash && classes[index] == name.sizeClass { return true }
    return false
  }
}

/// The list for a use; behind those for all uses, one that is being written.
@inline(__always)
public func typeNames(_ use: NameUse) -> UnsafeMutablePointer<TypeNames> { rootState(TypeNames.self, at: RootLayout.typeNamesOffset) + use.rawValue }

@inline(__always)
private var unfinished: UnsafeMutablePointer<TypeNames> { rootState(TypeNames.self, at: RootLayout.typeNamesOffset) + 3 }

extension UnsafeMutablePointer where Pointee == TypesState {
  /// All types, none, or those last named (`ListMode`).
  public func choose(_ mode: UInt32, for use: NameUse) {
    pointee.lock.lock()
    typeNames(use).pointee.mode = mode
    update(use)
    pointee.lock.unlock()
  }

  /// The name at `index` of a list of `count`, which holds once its last name is there, and until then the list before. `list` is
  /// any number that tells it from others. False if there are too many, or it is not this one's turn: another list was begun meanwhile.
  public func choose(_ name: ListedName, at index: Int, of count: Int, list number: UInt8 = 0, for use: NameUse) -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard index >= 0, index < count, count <= TypeNames.most, Int(name.sizeClass) <= SizeClass.count else { return false }
    // Which one it is stands in the word that is a finished list's mode.
    let list = UInt32(use.rawValue) | UInt32(number) << 8 | UInt32(count) << 16
    if index == 0 { (unfinished.pointee.mode, unfinished.pointee.count) = (list, 0) }
    guard unfinished.pointee.mode == list, Int(unfinished.pointee.count) == index else { return false }
    unfinished.pointee.hashes[index] = name.hash
    unfinished.pointee.classes[index] = name.sizeClass
    unfinished.pointee.count += 1
    guard index + 1 == count else { return true }
    let finished = typeNames(use)
    finished.pointee.hashes = unfinished.pointee.hashes
    finished.pointee.classes = unfinished.pointee.classes
    finished.pointee.count = unfinished.pointee.count
    finished.pointee.mode = ListMode.listed
    unfinished.pointee.count = 0
    update(use)
    return true
  }

  private func update(_ use: NameUse) {
    typeNames(use).pointee.plain = typeNames(use).pointee.choice(of: FixedName("malloc"))
    hashClasses.forEach { $0.pointee.choices[use.rawValue] = typeNames(use).pointee.plain }
    var next = pointee.first
    while let type = next {
      type.pointee.choices[use.rawValue] = typeNames(use).pointee.choice(of: type.pointee.name)
      next = type.pointee.next
    }
  }

  /// What the list for `use` says of a type; nil: of memory without one. One load.
  @inline(__always)
  public func choice(of type: TypePointer?, for use: NameUse) -> UInt8 { type?.pointee.choices[use.rawValue] ?? typeNames(use).pointee.plain }

  /// The same of a request that this size class serves; nil: none does.
  @inline(__always)
  public func chooses(_ type: TypePointer?, _ sizeClass: @autoclosure () -> Int?, for use: NameUse) -> Bool {
    let choice = choice(of: type, for: use)
    if choice != Choice.someClasses { return choice == Choice.all }
    guard let index = sizeClass() else { return false }
    return choosesClass(of: type, index, use)
  }

  @inline(never)
  private func choosesClass(of type: TypePointer?, _ index: Int, _ use: NameUse) -> Bool {
    let hash = type?.pointee.name.longHash ?? FixedName("malloc").longHash
    return typeNames(use).pointee.holds(ListedName(hash: hash, sizeClass: UInt8(index + 1)))
  }
}

extension TypePointer {
  /// A new type's, under the lock.
  func setChoices(for name: borrowing FixedName) {
    for index in 0..<3 { pointee.choices[index] = typeNames(NameUse(rawValue: index)!).pointee.choice(of: name) }
  }
}

// MARK: - Lists as they are written

extension FixedName {
  /// FNV-1a, of 64 bits.
  public var longHash: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for index in 0..<count { hash = (hash ^ UInt64(bytes[index])) &* 0x100_0000_01b3 }
    return hash
  }
}

/// Calls `body` with each name of a list like "images+malloc-128": as that of a type; and, if `withZones` and it is a zone's, as that.
public func forEachListedName(in text: UnsafeBufferPointer<UInt8>, withZones: Bool, _ body: (ListedName) -> Void) {
  forEachName(in: text) { name in
    body(ListedName(hash: name.longHash))
    if withZones, let zone = zone(named: name) { body(zone) }
  }
}

/// What "images-128" says, if there is such a size class.
private func zone(named name: FixedName) -> ListedName? {
  var size = 0, scale = 1, length = name.count
  while length > 1, scale < 1_000_000, case let digit = name.bytes[length - 1], digit >= 48, digit <= 57 {
    size += Int(digit - 48) * scale
    scale *= 10
    length -= 1
  }
  guard scale > 1, name.bytes[length - 1] == UInt8(ascii: "-"), size > 0, size <= SizeClass.largest else { return nil }
  let index = SizeClass.index(for: size)
  guard SizeClass.size(index) == size else { return nil }
  var type = name
  for place in (length - 1)..<31 { type.bytes[place] = 0 }
  return ListedName(hash: type.longHash, sizeClass: UInt8(index + 1))
}

/// Calls `body` with each name of a list as it is written, of which 31 bytes count. A plus sign beside another one is part of a name, as
/// in "libstdc++.so.6".
public func forEachName(in text: UnsafeBufferPointer<UInt8>, _ body: (FixedName) -> Void) {
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
