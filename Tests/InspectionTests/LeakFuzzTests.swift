// SPDX-License-Identifier: BSD-2-Clause
//
// A search for lost blocks in a process whose structures are damaged: an error, or an answer, and an end.

import Glibc
import Pages
import Testing

@testable import Inspection
@testable import TestSupport

/// A target of which some words, whichever are read, are others than they were.
private final class Damaged: TargetMemory, @unchecked Sendable {
  let inner: any TargetMemory
  var generator: Generator
  /// One read in so many is damaged.
  let rate: Int
  /// This word of the root alone, if given.
  var ofRoot: (place: Int, word: UInt)?
  private let places: [UInt]

  init(_ inner: any TargetMemory, _ generator: Generator, rate: Int) throws(InspectionError) {
    self.inner = inner
    self.generator = generator
    self.rate = rate
    places = try inner.mappings().map(\.start)
  }

  var name: String { inner.name }
  var process: Int32 { inner.process }
  var executablePath: String? { inner.executablePath }
  func mappings() throws(InspectionError) -> [Mapping] { try inner.mappings() }
  func modules(among mappings: [Mapping]) -> [Module] { inner.modules(among: mappings) }
  func file(of module: Module) -> FileBytes? { inner.file(of: module) }

  func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    try inner.read(into: buffer, at: address)
    if let ofRoot {
      if buffer.count == RootLayout.bytes { buffer.storeBytes(of: ofRoot.word, toByteOffset: ofRoot.place, as: UInt.self) }
      return
    }
    guard buffer.count >= 8, generator.below(rate) == 0 else { return }
    for _ in 0...generator.below(3) {
      let word = [0, .max, 1, UInt(generator.below(1 << 20)), UInt(truncatingIfNeeded: generator.next()), places[generator.below(places.count)]][generator.below(6)]
      let place = generator.below(buffer.count / 8) * 8
      switch generator.below(3) {
      case 0: buffer.storeBytes(of: word, toByteOffset: place, as: UInt.self)
      case 1: buffer.storeBytes(of: UInt32(truncatingIfNeeded: word), toByteOffset: place, as: UInt32.self)
      default: buffer[place] = UInt8(truncatingIfNeeded: word)
      }
    }
  }
}

@Suite struct LeakFuzzTests {
  static let program = """
    #include <signal.h>
    #include <stdlib.h>
    static void **held[1500];
    int main(void) {
      for (int i = 0; i < 1500; i++) { held[i] = malloc(16 + i); held[i][0] = i > 5 ? held[i - 5] : 0; }
      for (int i = 0; i < 1500; i++) if (i % 3) { if (i % 2) free(held[i]); held[i] = 0; }
      held[0] = malloc(1 << 20);
      raise(SIGSTOP);
      return 0;
    }
    """

  @Test(arguments: ["background:0", "background:0,redzone:2,memguard:10"])
  func `T13 whatever a process's structures say, the search ends with an error or an answer`(options: String) throws {
    guard let (child, folder) = startOnStave(Self.program, "fuzzed", options) else { return }
    try withExtendedLifetime(folder) {
      wait(for: "the program stops") { child.isStopped }
      let target = try LiveProcess(process: child.id)
      #expect(try SnapshotReader(target).pictureForLeaks([]).search().items > 900)
      var generator = Generator(13)
      // What of the root this search alone looks at.
      for place in [0, 8, 16, 24].map({ RootLayout.chunksOffset + $0 }) + [8, 16, 24].map({ RootLayout.memguardOffset + $0 }) {
        for word in [0, 7, 1 << 20, 1 << 47, .max] as [UInt] {
          let damaged = try Damaged(target, generator, rate: 1)
          damaged.ofRoot = (place, word)
          _ = try? SnapshotReader(damaged).pictureForLeaks([]).search()
        }
      }
      var errors = 0, answers = 0
      for step in 0..<Stage.steps(24, soak: 5000) {
        let damaged = try Damaged(target, Generator(seed: generator.next()), rate: [1, 5, 20, 60][step % 4])
        do throws(InspectionError) {
          let reading = try SnapshotReader(damaged).pictureForLeaks([]).search()
          answers += 1
          #expect(reading.lostCount + reading.heldCount + reading.innerCount <= reading.items)
          #expect(reading.groups.allSatisfy { $0.count > 0 && (1...LeakReading.mostAddresses).contains($0.addresses.count) && $0.count >= $0.addresses.count })
        } catch { errors += 1 }
      }
      #expect(errors > 0 && (answers > 0 || Stage.scale == 1), "\(errors) errors, \(answers) answers")
    }
  }

  @Test func `threads inside the library are known by where they are; but its own while it sleeps`() throws {
    func thread(_ program: UInt, stack: UInt, argument: UInt = 0) throws -> ThreadRegisters {
      var words = [UInt](repeating: 0, count: ThreadRegisters.general)
      #if arch(arm64)
        (words[32], words[31], words[0]) = (program, stack, argument)
      #else
        (words[16], words[19], words[14]) = (program, stack, argument)
      #endif
      return try #require(ThreadRegisters(words: words))
    }
    var library = LibraryCode(stack: AddressRange(start: 0x1000, end: 0x2000))
    let all = [
      try thread(0x9000, stack: 0x7000), try thread(0x5000, stack: 0x7000), try thread(0x5fff, stack: 0x7000), try thread(0x6000, stack: 0x7000),
      try thread(0x5500, stack: 0x1800, argument: 0x1900), try thread(0x9000, stack: 0x1800, argument: 0x3000),
    ]
    #expect(all.map(library.isOwn) == [false, false, false, false, true, true] && library.inside(all) == 1)
    library.code = AddressRange(start: 0x5000, end: 0x6000)
    #expect(library.inside(all) == 3 && library.isBusy(all) && !library.isBusy([all[0], all[3], all[4]]))
    #expect(ThreadRegisters(words: [1, 2]) == nil)
  }

  @Test func `a core that is cut off anywhere ends with an error or an answer`() throws {
    guard let (child, folder) = startOnStave(Self.program, "fuzzed", "background:0,redzone:2,memguard:10") else { return }
    try withExtendedLifetime(folder) {
      wait(for: "the program stops") { child.isStopped }
      guard let core = writeCore(of: child, in: folder) else { return }
      let whole = try CoreFile(path: core), picture = try SnapshotReader(whole).pictureForLeaks(in: whole)
      #expect(whole.registers.count == 1 && whole.registers[0].stackPointer > 0)
      #expect(picture.search().items > 900)
      let size = Int(whole.file.size)
      var generator = Generator(14)
      for _ in 0..<Stage.steps(8, soak: 500) {
        try #require(truncate(core, off_t(size - 1 - generator.below(size))) == 0)
        _ = try? { () throws(InspectionError) in
          let cut = try CoreFile(path: core)
          _ = try SnapshotReader(cut).pictureForLeaks(in: cut).search()
        }()
        // What is cut off comes back as a hole: zeros.
        try #require(truncate(core, off_t(size)) == 0)
        guard let cut = try? CoreFile(path: core) else { continue }
        _ = try? SnapshotReader(cut).pictureForLeaks(in: cut).search()
      }
    }
  }
}
