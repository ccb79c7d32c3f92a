// SPDX-License-Identifier: BSD-2-Clause
//
// Scopes from inside: what the first one does to malloc's first try, what a change of options does to it afterwards, and what is said
// where the process's malloc is another. What is counted, in programs: Tests/Preload/scopes.c.

import CPlatform
import Diagnostics
import Foundation
import Testing

@testable import Accounting
@testable import Heap
@testable import Pages
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ScopeTests {
    /// A type that is known.
    static func makeType() -> UnsafeMutablePointer<stave_type> {
      let type = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
      type.initialize(to: stave_type())
      type.pointee.magic = STAVE_TYPE_MAGIC
      type.pointee.version = 1
      type.pointee.name = UnsafePointer(strdup("scoped"))
      precondition(types.register(type) != nil)
      return type
    }
    static var nobody: Frame { Frame(pc: 0, sp: 0, bp: 0) }

    @Test func `the first scope closes malloc's first try for good, and memory without a type goes on behind it`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        let type = OnRoot.ScopeTests.makeType()
        let open = stave_hot().pointee.small_limit
        precondition(!Heap.looksAtRequests && (open > 0) == !CPUCache.isLocked)
        precondition(Heap.enterScope(nil) == nil && !Heap.looksAtRequests, "no scope without a type")
        let before = Heap.enterScope(type)
        precondition(before == nil && Heap.looksAtRequests && stave_hot().pointee.small_limit == 0 && stave_hot().pointee.typed_limit == open)
        let inside = Heap.allocate(100, for: OnRoot.ScopeTests.nobody)!
        Heap.leaveScope(to: before)
        let outside = Heap.allocate(100, for: OnRoot.ScopeTests.nobody)!
        let record = type.pointee.internals!.assumingMemoryBound(to: TypeRecord.self)
        precondition(TypeTotals(record).used == 1 && Heap.pop(100) == nil)
        // Opening and closing it for other reasons does not open it.
        for (option, value) in [(Option.failureRate, 5), (.failureRate, 0), (.types, 1), (.types, 0)] as [(Option, Int64)] {
          heap.pointee.options.values[option.rawValue] = value
          heap.apply(option)
          precondition(stave_hot().pointee.small_limit == 0)
          precondition(stave_hot().pointee.typed_limit == (option == .failureRate && value > 0 ? 0 : open))
        }
        Heap.free(inside)
        Heap.free(outside)
        precondition(TypeTotals(record).used == 0 && TypeTotals(record).allocations == 1)
        checkAll()
      }
    }

    @Test func `where the process's malloc is another, a scope says so once`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.upWithThread()
        heap.stepAside(freeingAt: { free($0) })
        let type = OnRoot.ScopeTests.makeType()
        for _ in 0..<3 { Heap.leaveScope(to: Heap.enterScope(type)) }
        precondition(!Heap.looksAtRequests)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "this process's malloc is another").count == 2, "\(text)")
    }
  }
}
