// SPDX-License-Identifier: BSD-2-Clause
//
// Walks of whole stacks: those of real frames, and those of anything at all, which must read nothing that cannot be read.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

@Suite struct StackWalkTests {
  @Test func `what can be read is known, and asking changes nothing`() {
    let fenced = Fenced(4096)
    var before = sigset_t(), after = sigset_t()
    pthread_sigmask(SIG_BLOCK, nil, &before)
    #expect(stave_can_read(fenced.start) && stave_can_read(fenced.end - 8))
    #expect(!stave_can_read(fenced.end) && !stave_can_read(fenced.start - 8))
    #expect(!stave_can_read(0) && !stave_can_read(.max & ~7) && !stave_can_read(0x8000_0000_0000_0000))
    pthread_sigmask(SIG_BLOCK, nil, &after)
    #expect(memcmp(&before, &after, 8) == 0)
  }

  /// Places that calls return to, with rules of all kinds.
  private func codePlaces() -> [UInt] {
    var places: [UInt] = []
    for name in ["qsort", "printf", "fopen", "getaddrinfo", "malloc", "strtod", "swift_retain", "swift_demangle", "pthread_create", "dlopen"] {
      guard let symbol = dlsym(nil, name) else { continue }
      for offset in stride(from: 1, to: 400, by: 3) { places.append(UInt(bitPattern: symbol) + UInt(offset)) }
    }
    return places.filter { !callers.place(of: $0).rule.isNone }
  }

  @Test(.enabled(if: Module.isAvailable)) func `a stack of any words is walked without reading outside of what can be read`() {
    var chance = Generator(72)
    let places = codePlaces()
    #expect(places.count > 300)
    var steps = 0, longest = 0
    for _ in 0..<Stage.steps(3000, soak: 300_000) {
      let fenced = Fenced(4096 * (1 + chance.below(3)))
      let words = UnsafeMutableBufferPointer(start: UnsafeMutablePointer<UInt>(bitPattern: fenced.start)!, count: Int(fenced.end - fenced.start) / 8)
      // Mostly what steps go on with; the rest leads astray.
      for index in words.indices {
        switch chance.below(10) {
        case 0..<6: words[index] = places[chance.below(places.count)]
        case 6, 7: words[index] = fenced.start + UInt(chance.below(words.count + 4)) * 8
        case 8: words[index] = UInt.random(in: 0 ... .max, using: &chance)
        default: words[index] = [0, .max, .max & ~7, .max & ~15, fenced.end, fenced.end - 8, fenced.start - 8][chance.below(7)]
        }
      }
      let sp = fenced.start + UInt(chance.below(words.count)) * 8
      let bp = [sp, sp + UInt(chance.below(400)) * 8, fenced.end - UInt(chance.below(4)) * 8, .max - UInt(chance.below(32)), UInt.random(in: 0 ... .max, using: &chance)][chance.below(5)]
      let frame = Frame(pc: places[chance.below(places.count)], sp: sp, bp: bp)
      var walk = StackWalk(from: frame, limit: [UInt.max, fenced.end, fenced.end + 8192, sp][chance.below(4)])
      var length = 0
      while length < 1000 {
        let before = walk.frame
        let isStep = chance.below(4) == 0 ? walk.stepByFramePointer() : walk.step(by: callers.place(of: walk.frame.pc).rule)
        guard isStep else {
          #expect(walk.frame == before, "a step that cannot be changes nothing")
          break
        }
        #expect(walk.frame.sp > before.sp)
        length += 1
      }
      (steps, longest) = (steps + length, max(longest, length))
      var pcs = [UInt](repeating: 0, count: 32)
      #expect((0...32).contains(callers.stack(from: frame, into: &pcs, most: 32)))
    }
    #expect(steps > 500, "so that the rest means something")
    #expect(longest >= 3 && longest < 1000)
  }

  @Test(.enabled(if: Module.isAvailable)) func `a walk begins where it is told and ends at a frame without a rule, or when it has enough`() {
    var pcs = [UInt](repeating: 0, count: 33)
    func walk(_ most: Int) -> Int {
      let frame = Stacks.frame(at: stave_frame_pointer())!
      return callers.stack(from: frame, into: &pcs, most: most)
    }
    let whole = walk(32)
    #expect(whole > 3 && pcs[..<whole].allSatisfy { $0 != 0 } && pcs[whole...].allSatisfy { $0 == 0 })
    pcs = [UInt](repeating: 0, count: 33)
    #expect(walk(2) == 2 && pcs[2] == 0)
    #expect(walk(0) == 0)
  }
}
