// SPDX-License-Identifier: BSD-2-Clause
//
// The table of rules: what it answers is what the call frame information says, whoever else reads, writes and forgets.

import CPlatform
import Foundation
import Synchronization
import Testing

@testable import Diagnostics
@testable import TestSupport

@Suite(.enabled(if: Module.isAvailable)) struct RuleCacheTests {
  /// Addresses in libc (ftw: a function that no sanitizer has its own of), and in this program, and what is known of them.
  private func knownPlaces(_ count: Int, _ callers: Callers, _ generator: inout Generator) throws -> [(pc: UInt, place: CodePlace)] {
    let libc = try module(of: "ftw"), program = try #require(Module(at: UInt(bitPattern: #dsohandle)))
    return (0..<count).map { _ in
      let module = Bool.random(using: &generator) ? libc : program
      let pc = module.start + 1 + UInt(generator.below(Int(module.end - module.start)))
      return (pc, CodePlace(module.rule(at: pc - 1), forwards: module.start == libc.start))
    }
  }

  @Test func `what is kept is what was found, for addresses that share a word, too`() throws {
    try withCallers { callers in
      var generator = Generator(41)
      // More than there are words.
      let places = try knownPlaces(20_000, callers, &generator)
      for _ in 0..<3 {
        for (pc, place) in places where callers.place(of: pc) != place { Issue.record("\(pc)") }
      }
      var hits = 0
      for (pc, place) in places {
        let (index, key) = callers.ruleKey(pc)
        if stave_load64(callers.ruleWords + index) == key | UInt64(place.bits) { hits += 1 }
      }
      #expect(hits > 3000, "most words hold something: \(hits)")
      #expect(places.count { !$0.place.rule.isNone } > 5000)
    }
  }

  @Test func `an address is known by its word and what is in it`() {
    withCallers { callers in
      var generator = Generator(42)
      var keys: [UInt: (Int, UInt64)] = [:]
      for _ in 0..<Stage.steps(20_000, soak: 1_000_000) {
        let pc = (generator.next() as UInt) >> 17
        for close in [pc, pc ^ 1, pc ^ 1 << UInt(generator.below(47))] { keys[close] = callers.ruleKey(close) }
      }
      let different = Set(keys.values.map { "\($0.0) \($0.1)" })
      #expect(different.count == keys.count)
    }
  }

  @Test func `outside all modules nothing is known, and nothing is kept`() {
    withCallers { callers in
      for pc: UInt in [0, 1, 4096, 1 << 46, (1 << 47) - 1, 1 << 47, 1 << 63, .max] {
        #expect(callers.place(of: pc) == .unknown)
        #expect(callers.caller(of: Frame(pc: pc, sp: 4096, bp: 4096), limit: .max) == Caller(pc: pc, depth: 0, isForwarder: false))
        #expect(callers.caller(of: Frame(pc: pc, sp: 4096, bp: 4096), limit: .max).module == nil)
      }
      let known = UInt(bitPattern: dlsym(nil, "ftw")) + 1
      #expect(callers.place(of: known) != .unknown)
      #expect(callers.place(of: known | 1 << 47) == .unknown, "an address that no word can hold")
      #expect((0..<4096).count { callers.ruleWords[$0] != 0 } == 1)
    }
  }

  @Test func `what a thread has found out before the flush is not taken for what holds after it`() throws {
    let function = try #require(dlsym(nil, "ftw"))
    withCallers { callers in
      let pc = UInt(bitPattern: function) + 1
      let right = callers.place(of: pc)
      let (index, key) = callers.ruleKey(pc)
      callers.flush()
      #expect(callers.ruleWords[index] == 0)
      stave_store64(callers.ruleWords + index, key | UInt64(right.bits ^ 1))
      #expect(callers.place(of: pc) == right)
    }
  }

  @Test func `threads that look up while one forgets get right answers`() throws {
    try withCallers { callers in
      var generator = Generator(43)
      let places = try knownPlaces(3000, callers, &generator)
      let wrong = Atomic(0), running = Atomic(3)
      let shared = Shared(callers)
      inThreads(4) { thread in
        if thread == 3 {
          while running.load(ordering: .relaxed) > 0 { shared.value.flush() }
          return
        }
        var generator = Generator(UInt64(44 + thread))
        for _ in 0..<Stage.steps(30_000) {
          let (pc, place) = places[generator.below(places.count)]
          if shared.value.place(of: pc) != place { wrong.add(1, ordering: .relaxed) }
        }
        running.subtract(1, ordering: .relaxed)
      }
      #expect(wrong.load(ordering: .relaxed) == 0)
    }
  }

  @Test func `a library loaded where another was has its own rules after the flush`() throws {
    guard let small = try Compiled("moved.c", by: "clang", ["-O1", "-fomit-frame-pointer", "-DFRAME=24"], as: "libsmall.so"),
      let large = try Compiled("moved.c", by: "clang", ["-O1", "-fomit-frame-pointer", "-DFRAME=104"], as: "liblarge.so")
    else { return }
    try withCallers { callers in
      // In the middle of the function, where the frame stands.
      let inside: UInt = 20
      var place: UInt = 0
      var before = FrameRule.none
      do {
        let library = try Loaded(small.path)
        place = library.address("framed") + inside
        before = callers.place(of: place).rule
        #expect(!before.isNone)
      }
      #expect(Module(at: place) == nil, "it has gone")
      let library = try Loaded(large.path)
      guard library.address("framed") + inside == place else { return announceSkip("the second library was loaded elsewhere") }
      #expect(callers.place(of: place).rule == before, "what is kept until the flush")
      callers.flush()
      let after = callers.place(of: place).rule
      #expect(!after.isNone && after.offset == before.offset + 80)
    }
  }
}

