// SPDX-License-Identifier: BSD-2-Clause
//
// A page source: where a keg gets the pages of its slabs, and where they go back. It is two functions and a context, chosen when the
// zone is made. The first may mark pages with a byte of its own, which the slab's header keeps and the second gets.

import Primitives

public struct PageSource {
  public typealias Allocate = @convention(c) (
    _ context: UnsafeMutableRawPointer?, _ bytes: Int, _ wait: Int32, _ mark: UnsafeMutablePointer<UInt8>
  ) -> UnsafeMutableRawPointer?
  public typealias Free = @convention(c) (
    _ context: UnsafeMutableRawPointer?, _ start: UnsafeMutableRawPointer, _ bytes: Int, _ mark: UInt8
  ) -> Void

  public var allocate: Allocate
  public var free: Free
  public var context: UnsafeMutableRawPointer?
  /// Pages that come from here are always zero.
  public var isZeroed: Bool
  /// The core's own, which may be called with locks held, unlike an author's.
  public var isOurs = false
  /// `arena`, in whose place memory of a domain may come from runs (DomainRuns).
  public var isArena = false

  public init(allocate: Allocate, free: Free, context: UnsafeMutableRawPointer?, isZeroed: Bool) {
    self.allocate = allocate
    self.free = free
    self.context = context
    self.isZeroed = isZeroed
  }

  /// No pages: of kegs that never have a slab.
  public static var none: PageSource { PageSource(allocate: { _, _, _, _ in nil }, free: { _, _, _, _ in }, context: nil, isZeroed: true) }

  /// Metadata pages: what internal zones are made of.
  public static var metadata: PageSource {
    var source = PageSource(
      allocate: { _, bytes, _, _ in metadataPages.allocate(bytes: bytes) },
      free: { _, start, bytes, _ in metadataPages.free(start, bytes: bytes) },
      context: nil, isZeroed: true)
    source.isOurs = true
    return source
  }
}
