// SPDX-License-Identifier: BSD-2-Clause
//
// The hash classes of a process (Accounting/HashClasses), for readers: how many, and the places in its code that each of them has
// served. A type's own class is in its snapshot.

import Accounting
import Pages

/// A place in the target's code that memory without a type is asked from.
public struct HashClassSite: Equatable, Sendable {
  /// The call returns to here.
  public var address: UInt
  public var hashClass: Int

  public init(address: UInt, hashClass: Int) { (self.address, self.hashClass) = (address, hashClass) }
}

public struct HashClassLook: Sendable {
  /// 1: none; then nothing below says anything.
  public var count = 1
  public var offset = 0
  /// By class, then by address. Not all: where the table is full, new ones are left out.
  public var sites: [HashClassSite] = []

  public init() {}

  /// Throws `damaged` for what no library writes.
  init(_ root: RootCopy) throws(InspectionError) {
    let state = root.part(HashClasses.self, RootLayout.hashClassesOffset)
    guard state.pointee.count <= HashClasses.most else { throw .damaged("more hash classes than there can be") }
    count = Int(max(1, state.pointee.count))
    offset = Int(state.pointee.offset)
  }
}

extension SnapshotReader {
  /// One look at the root and at 32 KiB of sites.
  public func hashClasses() throws(InspectionError) -> HashClassLook {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try readRoot(copies)
    var look = try HashClassLook(root)
    guard look.count > 1, let sites = root.part(HashClasses.self, RootLayout.hashClassesOffset).pointee.sites else { return look }
    let words = try target.readArray(UInt64.self, at: UInt(bitPattern: sites), count: HashClasses.siteCount, limit: HashClasses.siteCount)
    // A word that has no class is that of code that only forwards.
    look.sites = words.filter { $0 != 0 && $0 & 0xffff < UInt64(look.count) }
      .map { HashClassSite(address: UInt($0 >> 16), hashClass: Int($0 & 0xffff)) }
      .sorted { ($0.hashClass, $0.address) < ($1.hashClass, $1.address) }
    return look
  }
}
