// SPDX-License-Identifier: BSD-2-Clause
//
// Stacks that a process keeps, read from outside: those of a program that says itself what they must be, of its core, and of stores in
// which any word may be anything.

import CPlatform
import Diagnostics
import Glibc
import Pages
import Testing

@testable import Inspection
@testable import TestSupport

/// Where a store lies, and the numbers of all its stacks.
private struct Store {
  var state: UInt
  var table: UInt
  var words: Int
  var numbers: [UInt32] = []
  /// Of each number.
  var records: [UInt] = []
  /// Where the first block is told of.
  var blocks: UInt { table + UInt(StackTable.chainCount * 4) }

  init(_ reader: SnapshotReader) throws {
    let target = reader.target
    state = reader.location.address + UInt(RootLayout.stacksOffset)
    table = try target.read(UInt.self, at: state)
    words = Int(try target.read(Int64.self, at: state + 8))
    for first in try target.readArray(Int32.self, at: table, count: StackTable.chainCount, limit: StackTable.chainCount) where first != 0 {
      var next = first
      while next != 0 {
        let block = try target.read(UInt.self, at: table + UInt(StackTable.chainCount * 4 + Int(next) / StackTable.blockWords * 8))
        let record = block + UInt(Int(next) % StackTable.blockWords * 8)
        numbers.append(UInt32(next))
        records.append(record)
        next = try target.read(Int32.self, at: record)
      }
    }
  }
}

@Suite struct RecordedStacksTests {
  /// Says of each function in which it stands where it returns to, and at which depth it asks for memory.
  static let program = """
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #define FUNCTION __attribute__((noinline))
    static void *volatile held[200];
    static int count;
    FUNCTION void innermost(size_t size) {
      printf("%lx\\n", (long)__builtin_return_address(0));
      held[count++] = malloc(size);
      __asm__ volatile("");
    }
    FUNCTION void middle(size_t size) {
      printf("%lx ", (long)__builtin_return_address(0));
      innermost(size);
      __asm__ volatile("");
    }
    FUNCTION void outer(void) {
      printf("ways ");
      middle(100);
      printf("ways ");
      middle(200);
      __asm__ volatile("");
    }
    static void two(int way, int left);
    FUNCTION void one(int way, int left) { two(way, left); __asm__ volatile(""); }
    FUNCTION void other(int way, int left) { two(way, left); __asm__ volatile(""); }
    FUNCTION static void two(int way, int left) {
      if (left == 0) free(malloc(50)); else if (way & 1) one(way >> 1, left - 1); else other(way >> 1, left - 1);
      __asm__ volatile("");
    }
    FUNCTION int deep(int left) {
      if (left == 0) held[count++] = malloc(300); else deep(left - 1);
      __asm__ volatile("");
      return left;
    }
    int main(void) {
      outer();
      deep(3);
      deep(60);
      for (int i = 0; i < 50; i++) held[count++] = malloc(10 + i);
      for (int way = 0; way < 512; way++) two(way, 9);
      fflush(stdout);
      raise(SIGSTOP);
      return 0;
    }
    """

  private func started() throws -> (child: Started, folder: Folder)? {
    // Whole frames, for stacks of their own make.
    guard let (child, folder) = startOnStave(Self.program, "stacked", "background:0,redzone:1") else { return nil }
    wait(for: "the program stops") { child.isStopped }
    return (child, folder)
  }

  private func functions(_ frames: [StackFrame]) -> [String] { frames.map { $0.function ?? "?" } }

  private func expectAll(_ reader: SnapshotReader, _ printed: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let store = try Store(reader), stacks = try RecordedStacks(reader)
    let all = store.numbers.map { stacks.returns(of: $0) }
    // More than one block of the store has them.
    #expect(store.numbers.count >= 512 && store.words > StackTable.blockWords && Set(all).count == all.count && all.allSatisfy { (1...32).contains($0.count) }, sourceLocation: sourceLocation)
    // As the program has it: `middle` returns into `outer`, `innermost` into `middle`.
    let ways = printed.split(separator: "\n").filter { $0.hasPrefix("ways ") }.map { $0.split(separator: " ").dropFirst().map { UInt($0, radix: 16)! } }
    #expect(ways.count == 2, "\(printed)", sourceLocation: sourceLocation)
    for way in ways {
      let its = store.numbers.filter { stacks.returns(of: $0).dropFirst().starts(with: [way[1], way[0]]) }
      #expect(its.count == 1, "\(its)", sourceLocation: sourceLocation)
      guard let number = its.first else { continue }
      let frames = stacks.frames(of: number)
      #expect(Array(functions(frames).prefix(4)) == ["innermost", "middle", "outer", "main"], "\(frames)", sourceLocation: sourceLocation)
      #expect(frames.prefix(4).allSatisfy { $0.path?.hasSuffix("/stacked") == true && $0.offset > 0 }, "\(frames)", sourceLocation: sourceLocation)
      // The call is what is named, not what comes behind it.
      #expect(frames.map(\.address) == stacks.returns(of: number).map { $0 - 1 }, sourceLocation: sourceLocation)
    }
    let twos = Set(store.numbers.map { functions(stacks.frames(of: $0)) }.filter { $0.first == "two" }.map { $0.filter { ["one", "other"].contains($0) } })
    #expect(twos.count == 512 && twos.allSatisfy { $0.count == 9 }, "\(twos.count)", sourceLocation: sourceLocation)
    let depths = store.numbers.map { functions(stacks.frames(of: $0)) }.filter { $0.first == "deep" }.map { names in names.count { $0 == "deep" } }.sorted()
    #expect(depths == [4, 32], "\(depths)", sourceLocation: sourceLocation)
    for number in [0, UInt32(store.words), UInt32(store.words) + 1, 1 << 21, (1 << 22) - 1, .max] { #expect(stacks.returns(of: number) == [], sourceLocation: sourceLocation) }
    #expect(stacks.frame(at: 16) == StackFrame(address: 16, path: nil, place: 0, function: nil, offset: 0), sourceLocation: sourceLocation)
  }

  @Test func `stacks of a process and of its core: what the program says they are, innermost first, with functions and files; nothing else has any`() throws {
    guard let (child, folder) = try started() else { return }
    try withExtendedLifetime(folder) {
      try expectAll(try SnapshotReader(LiveProcess(process: child.id)), child.printed)
      guard let path = writeCore(of: child, in: folder) else { return }
      try expectAll(try SnapshotReader(CoreFile(path: path)), child.printed)
    }
  }

  @Test func `a process that keeps none, and one of another layout`() throws {
    guard let (child, folder) = startOnStave("#include <signal.h>\nint main(void) { raise(SIGSTOP); return 0; }\n", "stackless") else { return }
    try withExtendedLifetime(folder) {
      wait(for: "the program stops") { child.isStopped }
      let target = Altered(try LiveProcess(process: child.id))
      let reader = try SnapshotReader(target)
      let stacks = try RecordedStacks(reader)
      for number in [0, 1, 2, 100, .max] as [UInt32] { #expect(stacks.returns(of: number).isEmpty && stacks.frames(of: number).isEmpty) }
      target.words[reader.location.address + 8] = 0x1234_5678_0000_0001
      #expect(throws: InspectionError.self) { try RecordedStacks(reader) }
    }
  }

  /// A few thousand inputs in an ordinary run, half a million in a soak.
  @Test func `L78 any word of a store may be anything: stacks of 32 frames at most, and no trap`() throws {
    guard let (child, folder) = try started() else { return }
    try withExtendedLifetime(folder) {
      let target = Altered(try LiveProcess(process: child.id))
      let reader = try SnapshotReader(target)
      let store = try Store(reader)
      let good = try RecordedStacks(reader)
      let before = store.numbers.map { good.returns(of: $0) }
      #expect(before.allSatisfy { !$0.isEmpty })
      var generator = Generator(78)
      var told = 0, silent = 0
      for step in 0..<Stage.steps(3000, soak: 500_000) {
        for _ in 0...generator.below(3) {
          let index = generator.below(store.records.count)
          let places = [
            store.state, store.state + 8, store.state + UInt(generator.below(5)) * 8, store.blocks + UInt(generator.below(3)) * 8,
            store.records[index], store.records[index] + 8, store.records[index] + UInt(generator.below(6)) * 8,
          ]
          let words: [UInt64] = [
            0, 1, .max, .max - 7, .max >> 1, 1 << 63, 33, 32, 0x21_0000_0000, generator.next(), UInt64(store.table), UInt64(store.records[index]), UInt64(generator.below(100_000)),
            UInt64(UInt(bitPattern: -8)), 1 << 47,
          ]
          target.words[places[generator.below(places.count)] & ~7] = words[generator.below(words.count)]
        }
        if let stacks = try? RecordedStacks(reader) {
          for number in [store.numbers[generator.below(store.numbers.count)], UInt32(truncatingIfNeeded: generator.next()), UInt32(generator.below(1 << 22)), 0] {
            let returns = stacks.returns(of: number)
            if returns.count > 32 || number == 0 && !returns.isEmpty { Issue.record("\(returns.count) frames of stack \(number), step \(step)") }
            if returns.isEmpty { silent += 1 } else { told += 1 }
          }
          if step % 100 == 0 { for number in store.numbers.prefix(3) { _ = stacks.frames(of: number).map(\.function) } }
        }
        target.words = [:]
      }
      #expect(told > 100 && silent > 100, "\(told) \(silent)")
      // Of what has not been taken yet nothing is told, whatever lies there.
      target.words[store.state + 8] = 2
      let early = try RecordedStacks(reader)
      #expect(store.numbers.allSatisfy { early.returns(of: $0).isEmpty })
      target.words = [:]
      let after = try RecordedStacks(reader)
      #expect(store.numbers.map { after.returns(of: $0) } == before)
    }
  }
}
