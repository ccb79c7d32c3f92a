// SPDX-License-Identifier: BSD-2-Clause
//
// Libraries of Tests/Callers, compiled and loaded; tables of what has been learnt that a test has for itself.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

func announceSkip(_ reason: String) { print("SKIPPED: \(reason)") }

/// Tables of a test's own.
func withCallers<Result>(_ body: (Callers) throws -> Result) rethrows -> Result {
  let callers = Callers.allocate(capacity: 1)
  memset(callers, 0, MemoryLayout<stave_callers>.size)
  defer { callers.deallocate() }
  return try body(callers)
}

/// The program of this name on PATH.
func find(_ name: String) -> String? {
  let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
  return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
}

struct CannotRun: Error, CustomStringConvertible { var description: String }

/// What a program writes to its standard output.
func output(of program: String, _ arguments: [String]) throws -> Data {
  let process = Process()
  let pipe = Pipe()
  process.executableURL = URL(filePath: program)
  process.arguments = arguments
  process.standardOutput = pipe
  try process.run()
  let data = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  guard process.terminationStatus == 0 else { throw CannotRun(description: "\(program) \(arguments)") }
  return data
}

/// A file of Tests/Callers, compiled to a library in a folder that goes away with the test. Nil, said aloud: no such compiler.
final class Compiled {
  private let folder: URL
  let path: String

  init?(_ file: String, by compiler: String, _ flags: [String] = [], as name: String = "libcallers.so") throws {
    guard let program = find(compiler) else {
      announceSkip("\(file): \(compiler) is not installed")
      return nil
    }
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    folder = FileManager.default.temporaryDirectory.appending(path: "stave-callers-\(UUID().uuidString)")
    path = folder.appending(path: name).path
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let include = tests.deletingLastPathComponent().appending(path: "Sources/CPlatform/include").path
    let common = ["-shared", "-fPIC", "-Wall", "-Werror", "-I", include, tests.appending(path: "Callers/\(file)").path, "-o", path]
    do { _ = try output(of: program, common + flags) } catch {
      // A C++ compiler may be there without its library.
      guard file.hasSuffix(".cc") else { throw error }
      announceSkip("\(file): \(compiler) does not compile it")
      return nil
    }
  }

  deinit { try? FileManager.default.removeItem(at: folder) }
}

/// A loaded library.
final class Loaded {
  let handle: UnsafeMutableRawPointer

  init(_ path: String) throws {
    guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) else { throw CannotRun(description: String(cString: dlerror())) }
    self.handle = handle
  }

  func address(_ name: String) -> UInt { UInt(bitPattern: dlsym(handle, name)) }
  func function<Function>(_ name: String, _: Function.Type) -> Function { unsafeBitCast(dlsym(handle, name)!, to: Function.self) }

  deinit { dlclose(handle) }
}

/// The module that some function of it is in.
func module(of symbol: String) throws -> Module {
  let place = try #require(dlsym(nil, symbol))
  return try #require(Module(at: UInt(bitPattern: place)))
}

/// The path of the module that a call at `pc` returns into.
func path(of pc: UInt) -> String { Module(at: pc - 1)?.name.map { String(cString: $0) } ?? "?" }

/// Memory between two pages that nobody may read; freed with it.
final class Fenced {
  private let whole: UInt
  private let bytes: UInt
  let start: UInt
  let end: UInt

  init(_ size: Int) {
    bytes = UInt(size + 4095) & ~4095 + 8192
    whole = UInt(bitPattern: mmap(nil, Int(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    start = whole + 4096
    end = whole + bytes - 4096
    mprotect(UnsafeMutableRawPointer(bitPattern: start)!, Int(end - start), PROT_READ | PROT_WRITE)
  }

  deinit { munmap(UnsafeMutableRawPointer(bitPattern: whole)!, Int(bytes)) }
}

func copy(_ from: UInt, to: UInt, _ bytes: UInt) {
  memcpy(UnsafeMutableRawPointer(bitPattern: to)!, UnsafeRawPointer(bitPattern: from)!, Int(bytes))
}
