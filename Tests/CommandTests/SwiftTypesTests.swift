// SPDX-License-Identifier: BSD-2-Clause
//
// Malloc types of Swift programs: what a scope counts, exactly, wherever Stave comes from; what is said without it; what does not
// compile.

import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized, .enabled(if: Built.hasLibrary)) struct SwiftTypesTests {
  /// Where the program has its malloc from.
  enum Source: String, CaseIterable, Sendable { case preloaded, archive, linked, locked, byLibrary, none }

  private static let sources = Place.root.appending(path: "Sources")
  private static let module = sources.appending(path: "Stave")

  /// The Swift API's own files, compiled with the program's.
  private static var common: [String] {
    get throws {
      let files = try FileManager.default.contentsOfDirectory(atPath: module.path).filter { $0.hasSuffix(".swift") }.sorted()
      return ["-swift-version", "6", "-parse-as-library", "-I", sources.appending(path: "StaveC/include").path] + files.map { module.appending(path: $0).path }
    }
  }

  private static let program = """
    #if canImport(Glibc)
      internal import Glibc
    #endif
    extension MallocType {
      static let arrays = MallocType("arrays", "lists of numbers")
      static let texts = MallocType("texts")
      static let failed = MallocType("failed")
      static let thread = MallocType("thread")
      static let blocks = MallocType("blocks")
      static let ended = MallocType("ended")
    }
    struct Broken: Error {}
    final class Chain { let next: Chain?; init(_ next: Chain?) { self.next = next } }
    nonisolated(unsafe) var held: [Any] = []
    nonisolated(unsafe) var kept: [[Int]] = []
    nonisolated(unsafe) var given: [UnsafeMutableRawPointer] = []
    @main enum Main {
      static func main() {
        given.reserveCapacity(100)
        // A hundred arrays, and the one that holds them.
        kept = withMallocType(.arrays) { (0..<100).map { [Int](repeating: $0, count: 50) } }
        for index in 0..<30 { kept[index] = [] }  // freed outside
        // Within a scope, another; the outer one goes on behind it.
        withMallocType(.arrays) {
          let texts = withMallocType(.texts) { (0..<50).map { String(repeating: "x", count: 100 + $0) } }
          given.append(strdup("a copy that libc makes"))
          withMallocType(.thread) {
            var thread = pthread_t()
            _ = withMallocType(.failed) {
              pthread_create(&thread, nil, { @Sendable _ in
                given.append(malloc(500)!)
                withMallocType(.texts) { given.append(malloc(600)!) }
                return nil
              }, nil)
            }
            pthread_join(thread, nil)
          }
          withMallocType(.blocks) { held.append(texts) }
        }
        do { try withMallocType(.failed) { throw Broken() } } catch {}
        given.append(malloc(700)!)
        for alignment in [16, 32, 64, 256, 4096] {
          for size in [0, 1, 100, 3000, 30000, 50000] {
            let block = MallocType.blocks.allocate(byteCount: size, alignment: alignment, .zero)!
            if UInt(bitPattern: block) % UInt(alignment) != 0 { print("not aligned to", alignment, size) }
          }
        }
        let numbers = MallocType.blocks.allocate(Int.self, capacity: 1000, [.wait, .zero])!
        MallocType.blocks.deallocate(MallocType.blocks.reallocate(numbers, byteCount: 100_000))
        _ = MallocType.ended.allocate(byteCount: 100)
        MallocType.ended.end()
        MallocType.ended.end()
        print("done")
        fflush(nil)
        if CommandLine.arguments.count > 1 { raise(SIGSTOP) }
      }
    }
    """

  /// Built once for each way of linking; nil, said aloud, without a compiler.
  private func build(_ source: Source, in folder: Folder) throws -> String? {
    guard let swift = find("swiftc"), let clang = find("clang") else {
      announceSkip("malloc types in Swift: no swiftc or clang on PATH")
      return nil
    }
    let object = folder.file("interface.o"), program = folder.file("program")
    let include = Self.sources.appending(path: "StaveC/include").path
    let compiled = try run(
      clang, ["-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I", include, "-c", Self.sources.appending(path: "StaveC/interface.c").path, "-o", object])
    try #require(compiled.succeeded, compiled.report)
    let linked: [String] =
      switch source {
      case .archive: ["-Xlinker", "--undefined=malloc", Place.root.appending(path: "build/libstave.a").path]
      case .linked: [Built.library, "-Xlinker", "--no-as-needed"]
      default: []
      }
    let built = try run(swift, Self.common + [folder.write(Self.program, "Main.swift"), object, "-O", "-o", program] + linked)
    try #require(built.succeeded, built.report)
    return program
  }

  private func environment(_ source: Source) -> [String: String] {
    switch source {
    case .preloaded: ["LD_PRELOAD": Built.library]
    // The library's name is libstave.so.0, which is not beside it here.
    case .linked: ["LD_PRELOAD": Built.library]
    case .locked: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "percpu:locked"]
    case .byLibrary: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "types:library"]
    case .archive, .none: [:]
    }
  }

  @Test(arguments: Source.allCases) func `a scope counts what its thread allocates`(_ source: Source) throws {
    let folder = Folder()
    guard let program = try build(source, in: folder) else { return }
    if source == .none {
      let ended = try run(program)
      #expect(ended.succeeded && ended.text == "done\n", ended.report)
      #expect(ended.errorText.split(separator: "\n").count == 1 && ended.errorText.contains("counts nothing"), ended.report)
      return
    }
    let started = try Started(program, ["stop"], environment: environment(source))
    let hasStopped = wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false }
    try #require(hasStopped, "\(started.printed) \(started.complained)")
    defer { kill(started.id, SIGKILL) }
    #expect(started.printed == "done\n" && started.complained.components(separatedBy: "stave[").count == 2, "\(started.printed) \(started.complained)")
    #expect(started.complained.contains("ended: 1 block, 112 bytes"), "\(started.complained)")
    let ended = try stave("types", "--all", "--json", "\(started.id)")
    try #require(ended.status == 0, ended.report)
    let list = try #require((try object(ended.text)["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]])
    var inUse: [String: Int] = [:], requests: [String: Int] = [:]
    for row in list {
      let name = try #require(row["type"] as? String)
      inUse[name] = row["in-use"] as? Int
      requests[name] = row["requests"] as? Int
    }
    // Libc's own block of a thread may be of the scope that starts the thread; not of `thread`, around it.
    // The runtime may keep what it makes at the first use of a kind of value.
    #expect(72...76 ~= inUse["arrays"] ?? 0 && requests["arrays"] ?? 0 < 120, "100 arrays less 30, theirs, and a copy: \(inUse) \(requests)")
    #expect(inUse["texts"] == 52, "50 texts, their array, and the other thread's block: \(inUse)")
    #expect((inUse["thread"] ?? 0) == 0, "the other thread is not in the scope of the one that made it: \(inUse)")
    #expect(inUse["blocks"] ?? 0 >= 30 && inUse["blocks"] ?? 0 <= 32, "30 blocks, and what holds the texts: \(inUse)")
    #expect(inUse["ended"] == nil && requests["blocks"] ?? 0 >= 32, "\(inUse) \(requests)")
  }

  @Test func `an asynchronous closure does not compile`() throws {
    guard let swift = find("swiftc") else { return announceSkip("an asynchronous closure: no swiftc on PATH") }
    let folder = Folder()
    let text = """
      extension MallocType { static let one = MallocType("one") }
      func later() async -> Int { 1 }
      func both() async throws {
        _ = withMallocType(.one) { 1 }
        #if ASYNCHRONOUS
          _ = await withMallocType(.one) { await later() }
        #endif
      }
      """
    let command = try ["-typecheck"] + Self.common + [folder.write(text, "Snippet.swift")]
    let without = try run(swift, command), with = try run(swift, command + ["-DASYNCHRONOUS"])
    #expect(without.succeeded, without.report)
    #expect(!with.succeeded && with.errorText.contains("expecting synchronous function type"), with.report)
  }

  @Test func `the example shows its types, with Stave preloaded`() throws {
    guard let swift = find("swift") else { return announceSkip("Examples/types-swift: no swift on PATH") }
    let folder = Place.root.appending(path: "Examples/types-swift"), scratch = Place.root.appending(path: ".build/examples/types-swift").path
    // New files of the package beside it are noticed only by a new plan.
    for plan in ["debug.yaml", "release.yaml"] { try? FileManager.default.removeItem(atPath: scratch + "/" + plan) }
    let built = try run(swift, ["build", "--disable-sandbox", "-c", "release", "--scratch-path", scratch], in: folder, seconds: 400)
    try #require(built.succeeded, built.report)
    let program = scratch + "/release/types-swift"
    let started = try Started(program, ["wait"], environment: ["LD_PRELOAD": Built.library])
    #expect(wait { started.printed.contains("stave types") }, "\(started.printed) \(started.complained)")
    let lines = try stave("types", "\(started.id)").text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    // 2000 words, their array, and what the runtime keeps of its first work.
    let words = lines.first { $0.first == "words" }.flatMap { Int($0[1]) } ?? 0
    #expect(2001...2010 ~= words, "\(lines)")
    #expect(lines.contains { $0.first == "index" } && lines.contains { $0.prefix(2) == ["picture", "1"] }, "\(lines)")
    let plain = try run(program)
    #expect(plain.succeeded && plain.errorText.contains("counts nothing"), plain.report)
  }
}
