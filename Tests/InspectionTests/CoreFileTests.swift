// SPDX-License-Identifier: BSD-2-Clause
//
// Core files: one that gdb writes of a child, one that is put together here byte by byte, truncated ones, and garbage.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

/// A child and a core that gdb wrote of it; nil if there is no gdb, which is said aloud.
private struct GDBCore {
  let child: Started
  let path: String
  let folder: Folder

  init?() {
    guard let child = try? Started.sleeping() else { return nil }
    folder = Folder()
    guard let path = writeCore(of: child, in: folder) else { return nil }
    self.path = path
    self.child = child
  }
}

@Suite struct CoreFileTests {
  static let page = [UInt8]((0..<4096).map { UInt8(truncatingIfNeeded: $0 / 8) })

  static func sample() -> CoreBuilder {
    var info = [UInt8](repeating: 0, count: 136)
    info.replaceSubrange(24..<28, with: CoreBuilder.bytes(Int32(4711)))
    info.replaceSubrange(40..<45, with: Array("cask\0".utf8))
    info.replaceSubrange(56..<63, with: Array("cask -x".utf8))
    var status = [UInt8](repeating: 0, count: 336)
    status[12] = 11
    var builder = CoreBuilder()
    builder.notes = [(3, info), (1, status), (1, status)]
    builder.segments = [
      (0x10000, 6, 4096, page), (0x11000, 6, 8192, page), (0x20000, 4, 4096, []), (0x7fff_ffff_f000, 6, 4096, page),
    ]
    return builder
  }

  @Test(arguments: [false, true]) func readsWhatWasWritten(extendedCount: Bool) throws {
    let folder = Folder()
    var builder = Self.sample()
    builder.extendedCount = extendedCount
    let core = try CoreFile(path: folder.write(builder.build()))
    #expect(!core.isTruncated)
    #expect(core.identity == CoreIdentity(process: 4711, name: "cask", arguments: "cask -x", signal: 11, threads: 2))
    #expect(core.process == 4711 && core.name.contains("cask"))
    #expect(try core.read(UInt64.self, at: 0x10008) == 0x0101_0101_0101_0101)
    // Across the seam of two segments, then into what was not dumped, then where nothing is.
    #expect(try core.readArray(UInt8.self, at: 0x10ffc, count: 8, limit: 8) == [255, 255, 255, 255, 0, 0, 0, 0])
    #expect(errorOf { () throws(InspectionError) in _ = try core.read(UInt64.self, at: 0x11ffc) }
      == .notInCore(path: core.path, address: 0x12000))
    #expect(errorOf { () throws(InspectionError) in _ = try core.read(UInt64.self, at: 0x20000) }
      == .notInCore(path: core.path, address: 0x20000))
    #expect(errorOf { () throws(InspectionError) in _ = try core.read(UInt64.self, at: 0x30000) }
      == .shortRead(address: 0x30000, wanted: 8, got: 0))
    #expect(errorOf { () throws(InspectionError) in _ = try core.read(UInt64.self, at: .max - 3) }
      == .shortRead(address: .max - 3, wanted: 8, got: 0))
    #expect(try core.read(UInt64.self, at: [0x10000, 0x30000, 0x10010]) == [0, nil, 0x0202_0202_0202_0202])
    #expect(try core.mappings().map(\.start) == [0x10000, 0x11000, 0x20000, 0x7fff_ffff_f000])
    #expect(errorOf { () throws(InspectionError) in _ = try findRoot(in: core) } == .noStave(target: core.name))
  }

  @Test func everyTruncationIsAnErrorOrAShorterCore() throws {
    let folder = Folder()
    let whole = Self.sample().build()
    for length in 0..<whole.count where length < 1200 || length % 61 == 0 || length > whole.count - 20 {
      let path = folder.write(Array(whole[..<length]))
      do throws(InspectionError) {
        let core = try CoreFile(path: path)
        #expect(core.isTruncated)
        exercise(core)
        #expect(errorOf { () throws(InspectionError) in _ = try core.read(UInt8.self, at: 0x7fff_ffff_ffff) }
          == .truncatedCore(path: path, address: 0x7fff_ffff_ffff))
      } catch {
        switch error {
        case .truncatedCore(_, nil): #expect(length >= 4)
        case .notACore: #expect(length < 4)
        default: Issue.record("length \(length): \(error)")
        }
      }
    }
  }

  @Test func garbageIsAnError() {
    let folder = Folder()
    var numbers = Generator(6)
    for round in 0..<300 {
      var bytes = (0..<Int.random(in: 0...9000, using: &numbers)).map { _ in UInt8.random(in: 0...255, using: &numbers) }
      // Every other one gets past the first checks.
      if round % 2 == 1, bytes.count > 64 { bytes.replaceSubrange(0..<32, with: Self.sample().build()[..<32]) }
      if round % 4 == 3, bytes.count > 64 { bytes.replaceSubrange(0..<64, with: Self.sample().build()[..<64]) }
      if let core = try? CoreFile(path: folder.write(bytes)) { exercise(core) }
    }
  }

  @Test func damagedCoresDoNotCrash() {
    let folder = Folder()
    var numbers = Generator(7)
    var builder = Self.sample()
    builder.notes.append((0x4649_4c45, CoreBuilder.files([(0x10000, 0x11000, 0, "/bin/sleep"), (0x20000, 0x21000, 1, "/bin/sleep")])))
    builder.segments[0].content = Array((readSmallFile("/bin/sleep") ?? Self.page).prefix(4096))
    let intact = builder.build()
    let extremes: [UInt8] = [0, 1, 0x7f, 0x80, 0xff]
    for round in 0..<1000 {
      var bytes = intact
      for _ in 0..<Int.random(in: 1...10, using: &numbers) {
        let index = Int.random(in: 16..<2200, using: &numbers)
        bytes[index] = round % 2 == 0 ? extremes.randomElement(using: &numbers)! : UInt8.random(in: 0...255, using: &numbers)
      }
      if let core = try? CoreFile(path: folder.write(bytes)) { exercise(core) }
    }
  }

  @Test func filesSupplyWhatWasNotDumped() throws {
    // A core with the first page of a program and nothing else of it.
    let folder = Folder()
    let program = try #require(readSmallFile("/bin/sleep"))
    let path = folder.write(program, "program")
    let pages = UInt64(program.count + 4095) / 4096
    var builder = Self.sample()
    let start: UInt64 = 0x5555_0000_0000
    builder.segments.insert((start, 4, pages * 4096, Array(program.prefix(4096))), at: 3)
    builder.notes.append((0x4649_4c45, CoreBuilder.files([(start, start + pages * 4096, 0, path)])))
    let core = try CoreFile(path: folder.write(builder.build(), "core"))
    let read = try core.readArray(UInt8.self, at: UInt(start), count: Int(pages) * 4096, limit: 1 << 24)
    #expect(read.prefix(program.count).elementsEqual(program))
    #expect(read.dropFirst(program.count).allSatisfy { $0 == 0 })
    #expect(try core.mappings().contains { $0.path == path && $0.start == UInt(start) })

    // Another program at the same path is not used.
    var other = program
    if let id = try ElfFile(FileBytes(path: path)).buildID(), let at = program.indices.first(where: { program[$0...].starts(with: id) })
    {
      other[at] ^= 0x55
    }
    other[40] ^= 1  // the place of the section table, for the comparison without build ids
    unlink(path)
    _ = folder.write(other, "program")
    let later = try CoreFile(path: folder.path + "/core")
    #expect(errorOf { () throws(InspectionError) in _ = try later.read(UInt64.self, at: UInt(start) + 8192) }
      == .notInCore(path: later.path, address: UInt(start) + 8192))
  }

  @Test func compressedCoresSayWhatToDo() {
    let folder = Folder()
    for magic in [[0x28, 0xb5, 0x2f, 0xfd], [0x1f, 0x8b, 8, 0], [0xfd, 0x37, 0x7a, 0x58], [0x04, 0x22, 0x4d, 0x18]] as [[UInt8]] {
      let path = folder.write(magic + Self.page)
      guard case .notACore(_, let reason) = errorOf({ () throws(InspectionError) in _ = try CoreFile(path: path) }) else {
        Issue.record("compressed files are no cores")
        continue
      }
      #expect(reason.contains("compressed"))
    }
  }

  @Test func aCoreByGDBHoldsWhatTheProcessHeld() throws {
    guard let sample = GDBCore() else { return }
    let live = try LiveProcess(process: sample.child.id)
    let core = try CoreFile(path: sample.path)
    #expect(!core.isTruncated && core.process == sample.child.id && core.identity.name == "sleep")
    #expect(core.executablePath == live.executablePath)
    let liveMappings = try live.mappings()
    let liveModules = live.modules(among: liveMappings)
    let coreModules = core.modules(among: try core.mappings())
    for module in liveModules { #expect(coreModules.contains(module)) }
    #expect(try findRoot(in: core, symbol: "malloc") == findRoot(in: live, symbol: "malloc"))
    // It has slept all the time, so every page that the core can supply is the same, but for the few bytes in which the kernel
    // keeps the number of the CPU (rseq), which it wrote when gdb let the process go on.
    var compared = 0
    var different = 0
    for mapping in liveMappings where mapping.isReadable && !mapping.path.hasPrefix("[v") {
      for address in stride(from: mapping.start, to: mapping.end, by: 4096) {
        guard let old = try? core.readArray(UInt8.self, at: address, count: 4096, limit: 4096) else { continue }
        let now = try live.readArray(UInt8.self, at: address, count: 4096, limit: 4096)
        different += zip(old, now).reduce(0) { $0 + ($1.0 == $1.1 ? 0 : 1) }
        compared += 1
      }
    }
    #expect(compared > 100 && different <= 32)
  }

  @Test func truncatedCoresByGDB() throws {
    guard let sample = GDBCore(), let whole = readSmallFile(sample.path) else { return }
    let folder = Folder()
    let path = folder.write(whole)
    var numbers = Generator(8)
    // Shorter and shorter, so that the file is written once: near the end, anywhere, and within the tables.
    var lengths = (0..<60).map { _ in Int.random(in: 0..<whole.count, using: &numbers) }
    lengths += (0..<60).map { _ in Int.random(in: 0..<16384, using: &numbers) } + [whole.count - 1, 64, 63, 4, 1, 0]
    for length in lengths.sorted(by: >) {
      truncate(path, length)
      do throws(InspectionError) {
        let core = try CoreFile(path: path)
        // Behind the segments gdb writes a table of sections, which nobody reads.
        let end = core.segments.map { $0.offset + ($0.dumpedEnd - $0.start) }.max() ?? 0
        #expect(core.isTruncated || length >= end)
        exercise(core)
      } catch {
        switch error {
        case .truncatedCore, .notACore: break
        default: Issue.record("length \(length): \(error)")
        }
      }
    }
  }

  @Test func aCoreThatShrinksWhileItIsReadIsAnError() throws {
    let folder = Folder()
    let path = folder.write(Self.sample().build())
    let core = try CoreFile(path: path)
    truncate(path, 512)
    #expect(errorOf { () throws(InspectionError) in _ = try core.read(UInt64.self, at: 0x11000) } == .truncatedCore(path: path, address: 0x11000))
  }
}
