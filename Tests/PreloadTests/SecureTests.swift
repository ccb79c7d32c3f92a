// SPDX-License-Identifier: BSD-2-Clause
//
// Options are ignored in a program with more rights than its caller. The dynamic linker preloads no library by path into such
// a program, so this one is linked against a copy of the library, made setuid root, and run as another user.

import Foundation
import Testing

@testable import TestSupport

extension PreloadedLibrary {
  @Test(.enabled(if: Library.exists)) static func optionsAreIgnoredWhenSetuid() throws {
    guard Library.isStave else { return announceSkip("setuid: only Stave is known to take STAVE_OPTIONS") }
    guard geteuid() == 0 else { return announceSkip("setuid: making a setuid program of root's needs root") }
    let nobody: uid_t = 65534
    let files = FileManager.default
    let folder = URL(filePath: "/var/tmp/stave-secure-\(UUID().uuidString)")
    try files.createDirectory(at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    defer { try? files.removeItem(at: folder) }
    let library = folder.appending(path: "libstave.so")
    try files.copyItem(atPath: Library.path, toPath: library.path)
    chmod(library.path, 0o755)
    // Whatever name the library gives itself: the program will ask for that one.
    for version in 0..<10 { try files.createSymbolicLink(atPath: library.path + ".\(version)", withDestinationPath: library.path) }

    let flags = ["-Wl,--no-as-needed", library.path, "-Wl,-rpath,\(folder.path)"]
    guard let built = try Compiler.build("secure.c", as: "secure", flags: flags) else { return }
    let plain = folder.appending(path: "plain"), setuid = folder.appending(path: "setuid")
    try files.copyItem(at: built, to: plain)
    try files.copyItem(at: built, to: setuid)
    chmod(plain.path, 0o755)
    chown(setuid.path, 0, 0)
    chmod(setuid.path, 0o4755)

    func report(_ program: URL) throws -> Ended {
      try run(plain.path, ["as", "\(nobody)", program.path, "report"], environment: ["STAVE_OPTIONS": "verbose:1,stats:exit"], seconds: 30)
    }
    // The program that changes user speaks as well; what counts is what comes besides its own words.
    let ordinary = try report(plain), secure = try report(setuid)
    if ordinary.status == 77 { return announceSkip("setuid: " + ordinary.text) }
    try #require(ordinary.succeeded, ordinary.report)
    try #require(secure.succeeded, secure.report)
    #expect(ordinary.text.contains("AT_SECURE 0"), ordinary.report)
    guard secure.text.contains("AT_SECURE 1") else {
      return announceSkip("setuid: /var/tmp does not honour setuid programs")
    }
    let spoken = ordinary.errors.count + ordinary.output.count - "AT_SECURE 0\n".utf8.count
    let heard = secure.errors.count + secure.output.count - "AT_SECURE 1\n".utf8.count
    // Both went through the same ordinary first program, which exec ends before its exit; its verbose lines come once each.
    let first = try run(plain.path, ["as", "\(nobody)", "/bin/true", "x"], environment: ["STAVE_OPTIONS": "verbose:1,stats:exit"], seconds: 30)
    let introduction = first.errors.count + first.output.count
    #expect(spoken > introduction, "verbose:1 says nothing even where options count: \(ordinary.report)")
    #expect(heard == introduction, "a setuid program listened to STAVE_OPTIONS: \(secure.report)")
  }
}
