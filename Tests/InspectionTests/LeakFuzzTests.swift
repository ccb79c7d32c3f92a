// SPDX-License-Identifier: BSD-2-Clause
//
// A search for lost blocks in a process whose structures are damaged: an error, or an answer, and an end.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

/// A target of which some words, whichever are read, are others than they were.
private final class Damaged: TargetMemory, @unchecked Sendable {
  let inner: any TargetMemory
  var generator: Generator
  /// One read in so many is damaged.
  let rate: Int
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
