// SPDX-License-Identifier: BSD-2-Clause
//
// Walks through real frames, compared with the C library's backtrace(), which has a decoder of its own.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

/// What `probe` of Tests/Callers has captured, and what backtrace said at the same place. Only the serial suite below uses it.
private struct Sighting {
  var frame: Frame
  var trace: [UInt]
  var found: [UInt]
  var caller: Caller
  var limit: UInt

  nonisolated(unsafe) static var all: [Sighting] = []
  nonisolated(unsafe) static var plain: Call?

  static let note: @convention(c) (UInt, UInt, UInt, UnsafePointer<UInt>, Int32) -> Void = { pc, sp, bp, trace, count in
    let frame = Frame(pc: pc, sp: sp, bp: bp)
    let limit = stackLimit(above: sp, bytes: 64 << 20)
    let found = [UInt](unsafeUninitializedCapacity: 512) { $1 = callers.frames(from: frame, limit: limit, into: $0.baseAddress!, count: 511) }
    all.append(
      Sighting(
        // Between probe and backtrace there may be frames.
        frame: frame, trace: Array(UnsafeBufferPointer(start: trace, count: Int(count)).drop { $0 != pc }), found: found,
        caller: callers.caller(of: frame, limit: stackLimit(above: sp)), limit: limit))
  }

  /// The modules that the frames lie in, without repetitions.
  var modules: [String] {
    var names: [String] = []
    for pc in found {
      let name = String(path(of: pc).split(separator: "/").last ?? "program")
      if names.last != name { names.append(name) }
    }
    return names
  }
}

private typealias Call = @convention(c) () -> UInt

@Suite(.serialized, .enabled(if: Module.isAvailable)) struct CallerWalkTests {
  private func load(_ library: Loaded) {
    library.function("set_seen", (@convention(c) (@convention(c) (UInt, UInt, UInt, UnsafePointer<UInt>, Int32) -> Void) -> Void).self)(Sighting.note)
    Sighting.all = []
    callers.skip(nil, count: 0)
    callers.flush()
  }

  /// Sightings while `name` is called.
  private func call(_ name: String, in library: Loaded) -> [Sighting] {
    Sighting.all = []
    #expect(library.function(name, Call.self)() == 1, "\(name) says that a value went astray")
    return Sighting.all
  }

  static let variants: [(compiler: String, flags: [String])] = ["gcc", "clang"].flatMap { compiler in
    [
      ["-O2", "-fomit-frame-pointer"], ["-O2", "-fno-omit-frame-pointer", "-DFRAME_POINTERS"], ["-O0", "-DFRAME_POINTERS"], ["-Os", "-fomit-frame-pointer"],
      ["-O3", "-march=x86-64-v3"],
    ].map { (compiler, $0) }
  }

  @Test(arguments: variants.indices)
  func `frames are those that backtrace finds`(variant: Int) throws {
    let (compiler, flags) = Self.variants[variant]
    guard let compiled = try Compiled("callers.c", by: compiler, flags) else { return }
    let library = try Loaded(compiled.path)
    load(library)
    for name in ["call_plain", "call_mixed", "call_jumping", "call_two", "call_three", "call_last", "call_qsort", "call_bsearch", "call_stream"] {
      for pass in 0..<2 {
        let sightings = call(name, in: library)
        #expect(!sightings.isEmpty, "\(name)")
        for sighting in sightings {
          #expect(sighting.found == sighting.trace, "\(compiler) \(flags) \(name), pass \(pass)")
          #expect(sighting.found.count > 4)
          #expect(sighting.caller == Caller(pc: sighting.trace[0], depth: 0, isForwarder: false), "the library does not forward")
        }
      }
    }
  }

  @Test func `the walk ends where a signal came in`() throws {
    for compiler in ["gcc", "clang"] {
      guard let compiled = try Compiled("callers.c", by: compiler, ["-O2"]) else { continue }
      let library = try Loaded(compiled.path)
      load(library)
      let sighting = try #require(call("call_signal", in: library).first)
      #expect(sighting.found.count >= 2 && sighting.found.count < sighting.trace.count)
      #expect(sighting.found == Array(sighting.trace.prefix(sighting.found.count)))
      // The last one is the trampoline, which libc has.
      #expect(path(of: sighting.found.last!).hasSuffix("libc.so.6"))
    }
  }

  @Test func `in other threads, too, up to their first function`() throws {
    guard let compiled = try Compiled("callers.c", by: "clang", ["-O2"]) else { return }
    let library = try Loaded(compiled.path)
    load(library)
    let mixed = library.function("call_mixed", Call.self)
    inThreads(1) { _ in _ = mixed() }
    let sighting = try #require(Sighting.all.first)
    #expect(sighting.found == sighting.trace)
    #expect(sighting.limit - sighting.frame.sp < 1 << 20, "the stack that the thread was given")
  }

  @Test func `forwarders are walked over`() throws {
    guard let compiled = try Compiled("callers.c", by: "clang", ["-O2"], as: "libforward.so.1") else { return }
    let library = try Loaded(compiled.path)
    load(library)
    let skipped = Array("libforward".utf8)
    skipped.withUnsafeBufferPointer {
      callers.skip($0.baseAddress, count: $0.count)
      for name in ["call_plain", "call_mixed", "call_qsort", "call_stream"] {
        for sighting in call(name, in: library) {
          // The first frame that is neither libforward's nor libc's is this function.
          let expected = sighting.trace.firstIndex { !path(of: $0).hasSuffix("libc.so.6") && !path(of: $0).contains("libforward") }!
          #expect(sighting.caller == Caller(pc: sighting.trace[expected], depth: expected, isForwarder: false), "\(name)")
          #expect(sighting.caller.module?.linkMap == Module(at: UInt(bitPattern: #dsohandle))?.linkMap)
        }
      }
      // Where the walk ends inside, its first frame is the answer.
      for sighting in call("call_signal", in: library) {
        #expect(sighting.caller == Caller(pc: sighting.frame.pc, depth: sighting.found.count - 1, isForwarder: true))
      }
    }
    callers.skip(nil, count: 0)
    callers.flush()
  }

  @Test func `a walk takes at most 64 steps`() throws {
    guard let compiled = try Compiled("callers.c", by: "clang", ["-O2"], as: "libforward.so.1") else { return }
    let library = try Loaded(compiled.path)
    load(library)
    // Everything forwards.
    Array("*".utf8).withUnsafeBufferPointer {
      callers.skip($0.baseAddress, count: $0.count)
      callers.flush()
      let sighting = call("call_mixed", in: library)[0]
      #expect(sighting.caller == Caller(pc: sighting.frame.pc, depth: min(Callers.mostFrames, sighting.found.count - 1), isForwarder: true))
      var few: [UInt] = [0, 0, 0, 7]
      #expect(callers.frames(from: sighting.frame, limit: sighting.frame.sp, into: &few, count: 3) == 1, "the limit")
      #expect(few == [sighting.frame.pc, 0, 0, 7])
      #expect(callers.frames(from: sighting.frame, limit: sighting.limit, into: &few, count: 0) == 0)
      #expect(few[0] == sighting.frame.pc)
    }
    callers.skip(nil, count: 0)
    callers.flush()
  }

  @Test(arguments: ["g++", "clang++"])
  func `through libstdc++`(compiler: String) throws {
    guard let probes = try Compiled("callers.c", by: "gcc", ["-O2"]), let compiled = try Compiled("streams.cc", by: compiler, ["-O2", probes.path], as: "libstreams.so")
    else { return }
    let library = try Loaded(probes.path), streams = try Loaded(compiled.path)
    load(library)
    for name in ["call_ostream", "call_catch"] {
      let sighting = try #require(call(name, in: streams).first)
      #expect(sighting.found == sighting.trace, "\(name)")
      #expect(sighting.modules.starts(with: name == "call_ostream" ? ["libstreams.so", "libstdc++.so.6", "libstreams.so"] : ["libstreams.so"]))
    }
  }

  @Test func `through Swift and its library`() throws {
    guard let compiled = try Compiled("callers.c", by: "clang", ["-O2"]) else { return }
    let library = try Loaded(compiled.path)
    load(library)
    Sighting.plain = library.function("call_plain", Call.self)
    // Out of C, out of libc, and out of Swift's own library, which compares by a function that it finds in the type.
    let callBack = library.function("call_back", (@convention(c) (@convention(c) () -> Void) -> UInt).self)
    _ = callBack { _ = Sighting.plain?() }
    let sort = library.function("call_sorting", (@convention(c) (@convention(c) (UnsafeRawPointer?, UnsafeRawPointer?) -> Int32) -> UInt).self)
    _ = sort { _, _ in Int32(Sighting.plain?() ?? 0) }
    #expect(AnyHashable(Probing()) == AnyHashable(Probing()))
    #expect(Sighting.all.count >= 3)
    for sighting in Sighting.all { #expect(sighting.found == sighting.trace) }
    let names = Set(Sighting.all.flatMap(\.modules))
    #expect(names.isSuperset(of: ["libc.so.6", "libcallers.so", "program", "libswiftCore.so"]), "\(names)")
  }
}

private struct Probing: Hashable {
  static func == (left: Probing, right: Probing) -> Bool { Sighting.plain?() == 1 }
}
