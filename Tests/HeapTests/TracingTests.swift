// SPDX-License-Identifier: BSD-2-Clause
//
// How the fast paths make way for tracers and come back, which types are silent, and that the sample is fair. That probes fire with the
// right arguments is shown from outside: Tests/Probes.

import CPlatform
import Foundation
import Testing

@testable import Accounting
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct TracingTests {
    init() { Stage.up() }

    /// As a tracer does it.
    static func watch(_ by: Int) {
      stave_tracers_semaphore().pointee &+= UInt16(truncatingIfNeeded: by)
    }

    static func trace(_ names: StaticString...) {
      for (index, name) in names.enumerated() {
        precondition(types.choose(ListedName(hash: FixedName(name).longHash), at: index, of: names.count, for: .probes))
      }
    }

    @Test func `a tracer closes the fast paths with the next free, and the next request after the last one opens them`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let open = (stave_hot().pointee.small_limit, stave_hot().pointee.typed_limit)
        guard open.1 > 0 else { return }  // locked caches have no fast path
        let unit = stave_free_base()
        let block = Heap.allocate(64)
        OnRoot.TracingTests.watch(2)
        precondition(stave_tracers() == 2 && stave_free_base() != unit)
        Heap.free(block)
        precondition(stave_hot().pointee.small_limit == 0 && stave_hot().pointee.typed_limit == 0)
        OnRoot.TracingTests.watch(-1)
        Heap.free(Heap.allocate(64))
        precondition(stave_hot().pointee.typed_limit == 0, "one is left")
        OnRoot.TracingTests.watch(-1)
        precondition(stave_free_base() == unit)
        let next = Heap.allocate(64)
        precondition(stave_hot().pointee.small_limit == open.0 && stave_hot().pointee.typed_limit == open.1)
        Heap.free(next)
        // Without any free, at the latest when a cell is empty.
        OnRoot.TracingTests.watch(1)
        var requests = 0
        while stave_hot().pointee.typed_limit != 0 && requests < 5000 {
          _ = Heap.allocate(4000)
          requests += 1
        }
        precondition(requests <= 1025, "\(requests)")
      }
    }

    @Test func `a child of a fork that comes while a thread opens the fast paths again opens its own`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        Heap.free(Heap.allocate(64))
        guard stave_hot().pointee.typed_limit > 0 else { return }  // locked caches have no fast path
        inThreads(2) { thread in
          for _ in 0..<300 {
            if thread == 1 {
              OnRoot.TracingTests.watch(1)
              Heap.free(Heap.allocate(64))
              OnRoot.TracingTests.watch(-1)
              Heap.free(Heap.allocate(64))
              continue
            }
            Heap.prepareFork()
            let child = stave_syscall6(Int(SYS_fork), 0, 0, 0, 0, 0, 0)
            if child != 0 {
              Heap.parentAfterFork()
              var status: Int32 = 0
              waitpid(pid_t(child), &status, 0)
              precondition(status == 0, "\(status)")
              continue
            }
            Heap.childAfterFork()
            stave_tracers_semaphore().pointee = 0  // the tracer has gone
            _ = Heap.allocate(64)
            _exit(stave_hot().pointee.typed_limit > 0 ? 0 : 1)
          }
        }
      }
    }

    @Test func `what is traced is counted as ever`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        for isWatched in [false, true] {
          OnRoot.TracingTests.watch(isWatched ? 1 : 0)
          let before = HeapTotals()
          var blocks: [UnsafeMutableRawPointer] = []
          for round in 0..<20_000 { blocks.append(Heap.allocate(UInt(round % 2000 + round % 17 * 3000))!) }
          for block in blocks { Heap.free(block) }
          let after = HeapTotals()
          precondition(after.usedBytes == before.usedBytes, "\(isWatched)")
        }
      }
    }

    @Test func `a list of types: those that are there, those that come later, and the others silent`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let early = types.named(FixedName("early"))!, other = types.named(FixedName("other"))!
        func isHeard(_ type: TypePointer) -> Bool { types.traced(type.pointee.number) != nil }
        precondition(isHeard(early) && isHeard(other) && types.traced(0) != nil, "the default is all")
        OnRoot.TracingTests.trace("early", "late")
        let late = types.named(FixedName("late"))!, latest = types.named(FixedName("latest"))!
        precondition(isHeard(early) && isHeard(late) && !isHeard(other) && !isHeard(latest) && types.traced(0) == nil)
        OnRoot.TracingTests.trace("malloc")
        precondition(types.traced(0) != nil && !isHeard(early))
        precondition(String(cString: UnsafePointer<CChar>(bitPattern: types.traced(0)!.name)!) == "malloc")
        types.choose(ListMode.none, for: .probes)
        precondition(types.traced(0) == nil && !isHeard(early))
        types.choose(ListMode.all, for: .probes)
        precondition(types.traced(0) != nil && isHeard(other))
        precondition(String(cString: UnsafePointer<CChar>(bitPattern: types.traced(late.pointee.number)!.name)!) == "late")
      }
    }

    @Test func `what an ended type has left is traced as memory without a type, and its number's next type as itself`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let author = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
        author.initialize(to: stave_type())
        (author.pointee.magic, author.pointee.version) = (STAVE_TYPE_MAGIC, 1)
        author.pointee.name = UnsafePointer(strdup("brief"))
        types.choose(ListMode.none, for: .probes)
        OnRoot.TracingTests.trace("malloc")
        let type = types.register(author)!, number = type.pointee.number
        precondition(types.traced(number) == nil, "not on the list")
        let large = Heap.allocate(100_000, type: type)
        types.unregister(author)
        precondition(types.traced(number)!.number == 0, "its large block bears the number yet")
        Heap.free(large)
        OnRoot.TracingTests.trace("brief")
        precondition(types.register(author)!.pointee.number == number && types.traced(number)!.number == number)
      }
    }

    @Test func `a list in the environment that is too long, or has no name, is refused aloud as a whole`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        func isTaken(_ entry: String) -> Bool {
          let text = strdup(entry)
          let entries: [UnsafePointer<CChar>?] = [UnsafePointer(text), nil]
          var options = OptionValues()
          entries.withUnsafeBufferPointer { options.read(environment: $0.baseAddress!) }
          return options[.probes] == Int64(ListMode.listed)
        }
        let sixteen = Array(repeating: "x", count: 15).joined(separator: "+") + "+malloc"
        for bad in ["+", "\(sixteen)+b"] { precondition(!isTaken("STAVE_PROBES=\(bad)") && typeNames(.probes).pointee.mode == ListMode.all, bad) }
        precondition(isTaken("STAVE_OPTIONS=probes:\(sixteen)") && types.traced(0) != nil && typeNames(.probes).pointee.count == 16)
      }
    }

    @Test(arguments: [
      ("images+sqlite", ["images", "sqlite"]), ("images", ["images"]), ("libstdc++.so.6+malloc", ["libstdc++.so.6", "malloc"]),
      ("libstdc++", ["libstdc++"]), ("+a+", ["a"]), ("", []),
    ])
    func `a plus sign sets names apart, unless it stands beside another`(_ text: String, _ names: [String]) {
      var found: [UInt64] = []
      Array(text.utf8).withUnsafeBufferPointer { forEachListedName(in: $0, withZones: false) { found.append($0.hash) } }
      #expect(found == names.map { name in name.withCString { FixedName(cString: $0).longHash } })
    }

    @Test(arguments: [256, 4096, 40_000, 65_535, 65_536, 3_000_000] as [UInt])
    func `the sample is fair: weights add up to bytes, and weight by size to blocks`(_ size: UInt) {
      let rate: UInt = 65_536
      heap.pointee.options.values[Option.otelRate.rawValue] = Int64(rate)
      defer { heap.pointee.options.values[Option.otelRate.rawValue] = Option.otelRate.defaultValue }
      // So many that some 2,000 samples are expected, or every block is one.
      let blocks = size >= rate ? 1000 : Int(2000 * rate / size)
      var sum: UInt = 0, odd = 0
      for _ in 0..<blocks {
        let weight = Sampling.weight(ofNext: size)
        if weight != 0 && weight != max(size, rate) { odd += 1 }
        sum += weight
      }
      #expect(odd == 0)
      // Five standard deviations of a sum of that many chances.
      let chance = min(1, Double(size) / Double(rate))
      let deviation = Double(rate) * (Double(blocks) * chance * (1 - chance)).squareRoot()
      let bytes = Double(blocks) * Double(size)
      #expect(abs(Double(sum) - bytes) <= 5 * deviation, "\(Double(sum) / bytes)")
    }

    @Test func `a sample is known until it is freed, and a full row takes no more`() {
      Sampling.forgetAll()
      defer { Sampling.forgetAll() }
      let addresses = (0..<8192).map { UInt(0x7000_0000_0000) + UInt($0) * 48 }
      let kept = addresses.filter { Sampling.remember($0) }
      #expect(kept.count > 8100, "an eighth full: hardly any is refused")
      for address in kept { #expect(!Sampling.forget(address + 16)) }
      for address in kept { #expect(Sampling.forget(address)) }
      for address in kept { #expect(!Sampling.forget(address)) }
      var refused = 0
      for index in 0..<200_000 where !Sampling.remember(0x1000 + UInt(index) * 16) { refused += 1 }
      #expect(refused >= 200_000 - (1 << Int(STAVE_SAMPLE_BITS)) && refused < 200_000)
    }
  }
}
