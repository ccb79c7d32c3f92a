// SPDX-License-Identifier: BSD-2-Clause
//
// Hash classes (`numzones`): memory without a type from up to eight zones of each size instead of one, chosen by a hash of who asks,
// so that what is written beyond a block hurts only those who share its class (L64). Types have slabs of their own in any case;
// a type's class, which is chosen by its name, says whose zones serve it where it gets none of its own.
//
// Class 0 is malloc's own zones. Each other class is a record like a type's, but in no list, and its number is 0, "without a type".
// So a class has zones, kegs, slabs and cells as a type has; an address leads to its zone and to no other; and what all of them count
// is malloc's, for every reader.
//
// The offset, drawn anew for each process, changes who shares a class with whom. A fixed one repeats it: who asks is known by the file's
// name and the place in it, which do not depend on where the file was loaded.
//
// Sites are kept in a table of words that each say everything about themselves: an address of code above bit 16, its class below,
// or that one has to look further out (Heap+HashClasses). So readers outside can say who shares a class. Words stay for ever: what lies
// at an address that was another library's has its class.
//
// Cost: off, nothing. On, about 40 KiB once, and the zones that are used.

import CPlatform
import Pages
import Primitives
import Zones

/// All zeros: off.
public struct HashClasses {
  // What readers outside copy.
  /// Zones of each size, thus classes; 0 or 1: off.
  public var count: UInt32
  public var offset: UInt32
  /// `siteCount` words; nil while off.
  public var sites: UnsafeMutablePointer<UInt64>?

  /// Of classes 1, 2…, one behind the other.
  var records: TypePointer?

  public static var most: Int { 8 }
  public static var siteCount: Int { 4096 }
  /// In place of a class: code that only forwards.
  public static var forwards: UInt64 { 0xffff }
}

@inline(__always)
public var hashClasses: UnsafeMutablePointer<HashClasses> { rootState(HashClasses.self, at: RootLayout.hashClassesOffset) }

/// The two ways to a class. Nothing depends on anything but the arguments, so that readers come to the same.
public enum HashClass {
  /// A type's: a character of its name, as it is kept, by the offset; 0 without a name.
  public static func index(of name: borrowing FixedName, offset: UInt32, count: UInt32) -> Int {
    let length = name.count
    guard length > 0, count > 1 else { return 0 }
    return Int(name.bytes[Int(offset) % length]) % Int(count)
  }

  /// That of a place in a file, by a hash of the file's name.
  public static func index(ofPlace place: UInt64, inFile name: UInt64, offset: UInt32, count: UInt32) -> Int {
    var hash = name ^ (place &* 0x9E37_79B9_7F4A_7C15) &+ UInt64(offset) &* 0xD6E8_FEB8_6659_FD93
    hash = (hash ^ hash >> 32) &* 0xD6E8_FEB8_6659_FD93
    hash = (hash ^ hash >> 32) &* 0xD6E8_FEB8_6659_FD93
    return Int(((hash >> 32) &* UInt64(count)) >> 32)
  }
}

extension UnsafeMutablePointer where Pointee == HashClasses {
  @inline(__always)
  public var isOn: Bool { pointee.sites != nil }

  /// Once, before other threads can ask. False, and nothing done, if memory is not to be had.
  public func start(count: Int, offset: UInt32) -> Bool {
    let stride = MemoryLayout<TypeRecord>.stride, sites = HashClasses.siteCount * 8
    guard let memory = metadataPages.allocate(bytes: (sites + (count - 1) * stride).roundedUp(to: pageBytes)) else { return false }
    pointee.count = UInt32(count)
    pointee.offset = offset
    // Zeros are an empty gate, no zones, no cells and the number 0.
    pointee.records = (memory + sites).assumingMemoryBound(to: TypeRecord.self)
    forEach { record in
      record.pointee.name = FixedName("malloc")
      record.setChoices(for: FixedName("malloc"))
    }
    pointee.sites = memory.assumingMemoryBound(to: UInt64.self)
    return true
  }

  /// The record of a class; nil for class 0.
  @inline(__always)
  public func record(_ index: Int) -> TypePointer? { index == 0 ? nil : pointee.records.map { $0 + (index - 1) } }

  /// The class of one of those records.
  func index(of record: TypePointer) -> Int { record - pointee.records! + 1 }

  /// Those of all classes but 0.
  public func forEach(_ body: (TypePointer) -> Void) {
    guard let records = pointee.records else { return }
    for index in 1..<Int(pointee.count) { body(records + (index - 1)) }
  }

  /// Who serves a type that gets no zone of its own; nil: class 0.
  public func record(for type: TypePointer) -> TypePointer? {
    guard isOn, type.pointee.number != 0 else { return nil }
    return record(HashClass.index(of: type.pointee.name, offset: pointee.offset, count: pointee.count))
  }

  /// Zones that all classes but 0 may come to.
  var zonesAtMost: Int { Swift.max(0, Int(pointee.count) - 1) * SizeClass.count }

  // MARK: - Sites

  /// Places of the table where an address may be, from its own on.
  private static var reach: Int { 8 }

  @inline(__always)
  private func place(_ address: UInt, _ step: Int) -> UnsafeMutablePointer<UInt64> {
    let first = Int((UInt64(address) &* 0x9E37_79B9_7F4A_7C15) >> 52)  // of 4,096
    return pointee.sites! + (first + step) & (HashClasses.siteCount - 1)
  }

  /// What is known of an address: its class, or that it forwards.
  @inline(__always)
  public func known(_ address: UInt) -> UInt64? {
    for step in 0..<Self.reach {
      let word = stave_load64(place(address, step))
      if word >> 16 == UInt64(address) { return word & 0xffff }
      if word == 0 { return nil }
    }
    return nil
  }

  /// Where there is room: an address that is not kept is found out each time anew. Of two threads that write at a time one may lose.
  public func remember(_ address: UInt, _ what: UInt64) {
    guard address >> 48 == 0 else { return }
    for step in 0..<Self.reach where stave_load64(place(address, step)) == 0 {
      return stave_store64(place(address, step), UInt64(address) << 16 | what)
    }
  }
}
