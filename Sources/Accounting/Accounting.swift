// SPDX-License-Identifier: BSD-2-Clause
//
// # Accounting
//
// Malloc types: who holds the memory. malloc(9)'s types for a whole process, exact and always on.
//
// Words
//   type     a name under which memory is asked for: an author's ("images"), a library's, a call site's
//   record   what is kept of a type; readers in other processes copy it
//   class    a size class (SizeClass); a type has a zone for each class that it uses
//
//   stave_type ──► record ──► zone of (type, 64 bytes)  ──► cells, depot, keg: slabs of this type's items only
//   (author's)           └──► zone of (type, 96 bytes)  ──► …
//                             large blocks: the arena counts them by the type's number
//
// A type has zones of its own, and so cells, depots and slabs of its own. That is all there is to counting: the one store that
// commits an allocation or a free to a cell counts it, for its type and its class, as it does for memory without a type; a free
// needs no type to be told, for the address leads to the zone; and what is freed by somebody else is charged back to the type that
// allocated it. In use, requests, bytes and sizes seen are sums over a type's zones. Memory without a type is the type `malloc`:
// the zones of malloc that no other type has.
//
// Cost: nothing for memory without a type. For memory with one, finding the class by arithmetic instead of a table; of memory, a
// record of 1 KiB, and for each class in use a zone with its keg (some 600 bytes), what its slabs' last pages waste, and what its caches
// hold: up to half as much as malloc's own (`cellCapacity`). Cells and kegs are finite (STAVE_MAX_CELLS, STAVE_MAX_KEGS): beyond
// some 3,800 pairs of type and class a zone works without a cell, through its depot's lock; beyond some 7,600 a pair has no zone,
// and what it asks for is malloc's, of its hash class (HashClasses), which is how malloc's own memory can be divided.
//
// The alternative, common slabs with a type's number beside each item and a counting word for each (CPU, type, class), needs a
// second section and a store beside the item for each operation, and 1 to 6 % of metadata; Documentation/Decisions.md has the
// figures.
//
// A type with a limit has an account as well (TypeLimit): one number for all CPUs, to which every request and every free adds. Its
// memory has no fast path, so that none goes by the account: neither the record nor the address leads to a cell.
//
// Lock: `lock` (rank types), over the list; outside the zone system's locks.

import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

/// What the types keep in the root.
public struct TypesState: ~Copyable {
  /// All types, newest first, through `next`. `malloc` itself is not among them.
  public var first: TypePointer?
  /// As many as the list has (L62).
  public var count: Int
  /// The least number that no type has had.
  public var nextNumber: UInt32
  public var lock: FutexLock
  /// By number; nil until there is a type.
  var records: UnsafeMutablePointer<TypePointer?>?
  /// Numbers of the types that Stave has made, which never go, each at its name's hash or behind it; nil until there is one.
  var byName: UnsafeMutablePointer<UInt16>?
  /// Records of types that are gone, for new ones; those of which large blocks are out yet; and the rest of a page for more.
  var unused: TypePointer?
  var ending: TypePointer?
  var fresh: UInt
  var freshEnd: UInt
  /// Whose number the zones of ended types bear (TypeEnds). Not in the list; nil until there is a type.
  var ended: TypePointer?
  /// About how many such zones there are, and whether somebody looks for empty ones.
  var endedZones: Int64
  var isSweeping: UInt32
  /// A type could not be registered; so one that ends need not be known.
  var hasRefused: Bool
}

public typealias TypePointer = UnsafeMutablePointer<TypeRecord>

@inline(__always)
public var types: UnsafeMutablePointer<TypesState> { rootState(TypesState.self, at: RootLayout.typesOffset) }

/// What the library keeps of a type. Its memory stays a record for ever: readers may look at it when the type is gone.
public struct TypeRecord: ~Copyable {
  // What readers outside copy.
  public var next: TypePointer?
  public var name: FixedName
  /// Distinguishes types of one name.
  public var instance: UInt32
  /// From 1 on; the arena counts large blocks by it. 0 is memory without a type.
  public var number: UInt32
  /// By class; nil until the type has asked for such a size.
  public var zones: ClassZones
  /// Of these, the cells: what the fast path needs. 0 for none.
  public var cells: InlineArray<72, UInt16>
  /// Requests that failed, of whatever size.
  public var failures: Int64
  /// Bytes that may be in use; 0 for no limit.
  public var limit: Int64
  /// Requests that had to wait, for the limit or for memory.
  public var sleeps: Int64
  /// With an account: bytes in use, and those of requests that are under way.
  public var charged: Int64

  /// Threads inside, and what they do there (TypeGate). Goes on from type to type.
  var gate: Int64
  /// Goes on when something was freed, or the limit changed, while somebody waited; how many wait.
  var turn: Int32
  var sleepers: Int32
  /// Frees of its memory take the slow path, where somebody looks.
  public var isWatched: Bool
  /// What the lists of names say of it, by their use.
  var choices: InlineArray<3, UInt8>
  /// The type is gone: what bears its number yet is memory without a type.
  public internal(set) var isEnded: Bool
  /// The author's part, nil for types that Stave makes.
  var author: UnsafeMutablePointer<stave_type>?
  /// Among records of types that are gone. `next` stays, so that a reader who has come to this one goes on to the others.
  var nextUnused: TypePointer?
}
