// SPDX-License-Identifier: BSD-2-Clause
//
// A server that must not stop: redis with a module that makes mistakes (Tests/Corpus/notes.c). They go unnoticed until `stave guard` aims
// at the module's memory; then each is reported where it happens, and the server goes on.

import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized, .enabled(if: Built.hasLibrary)) struct GuardedServerTests {
  @Test func `guards aimed at one module of a running redis catch its overflow and its use after free, and the server goes on`() throws {
    guard let server = find("redis-server"), let client = find("redis-cli"), let load = find("redis-benchmark"), let compiler = find("clang", "gcc", "cc") else {
      return announceSkip("guards in redis: redis-server, its tools or a compiler is not installed")
    }
    let folder = Folder(), module = folder.file("notes.so"), socket = folder.file("socket")
    let source = Place.root.appending(path: "Tests/Corpus/notes.c").path
    let built = try run(compiler, ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-builtin", "-fPIC", "-shared", source, "-o", module])
    #expect(built.succeeded, built.report)

    let words = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", folder.path, "--loadmodule", module]
    let redis = try Started(server, words, environment: ["LD_PRELOAD": Built.library])
    func ask(_ requests: String...) throws -> [String] {
      try requests.map { request in
        let ended = try run(client, ["-s", socket] + request.split(separator: " ").map(String.init))
        return (ended.text + ended.errorText).trimmingCharacters(in: .whitespacesAndNewlines)
      }
    }
    #expect(wait { (try? ask("ping")) == ["PONG"] }, "\(redis.printed) \(redis.complained)")

    // 20 bytes too many: the size class has them, so nobody is hurt yet, and nobody notices.
    let long = String(repeating: "x", count: 1060)
    #expect(try ask("note.add short", "note.last", "note.add \(long)", "note.drop") == ["5", "5", "1060", "0"])
    #expect(try Int(ask("note.last")[0]) != nil)
    #expect(try ask("set key value") == ["OK"])
    #expect(!redis.complained.contains("stave"))

    // At rest it does a little ten times a second; then at work, with values that caches serve.
    let idle = try stave("set", "\(redis.id)", "onreport=continue")
    #expect(idle.succeeded && idle.text.contains("abort -> continue"), idle.report)
    let clients = try Started(load, ["-s", socket, "-q", "-c", "2", "-n", "100000000", "-t", "set", "-d", "100"])
    #expect(wait { (try? ask("info commandstats")[0].firstMatch(of: /cmdstat_set:calls=([0-9]+)/).flatMap { Int($0.1) }) ?? 0 > 1000 })
    let guarding = try stave("guard", "\(redis.id)", "--library", "notes.so")
    #expect(guarding.succeeded && guarding.text.contains("stave.memguard: 0 -> 1"), guarding.report)
    #expect(try ask("note.add short", "note.last", "get key") == ["5", "5", "value"])
    #expect(!redis.complained.contains("stave"), "what is right is not reported: \(redis.complained)")

    #expect(try ask("note.add \(long)") == ["1060"])
    try demand(
      redis.complained, "memguard: write of ", ", 0 bytes behind the end of the block at ", " of 1040 bytes, of type notes.so", "access:\n", "/notes.so+0x", "allocation:\n",
      "/notes.so+0x")
    let first = redis.complained
    #expect(try ask("note.drop", "note.last") == ["0", "0"])
    try demand(
      String(redis.complained.dropFirst(first.count)), "memguard: read of ", ", 0 bytes into the block at ", " of 1040 bytes, freed, of type notes.so", "access:\n",
      "/notes.so+0x", "allocation:\n", "/notes.so+0x", "free:\n", "/notes.so+0x")
    #expect(try ask("get key", "ping") == ["value", "PONG"])
    let reports = try stave("get", "\(redis.id)", "vm.debug.reports")
    // Of the bytes that were too many, the guard's page had the first; it is accessible since.
    #expect(reports.text.contains("vm.debug.reports: 2\n") || reports.text.contains("vm.debug.reports: 3\n"), reports.report)

    if let page = Page.corpus {
      let named = try start(Built.command, ["symbolize", folder.write(redis.complained, "report")]).end()
      // The frames of redis that all stacks end in are left out.
      let lines = named.text.split(separator: "\n").filter { $0.firstMatch(of: /^  #([0-9]+)\b/).flatMap { Int($0.1) } ?? 0 < 4 }
      let text = lines.joined(separator: "\n").replacingOccurrences(of: folder.path + "/", with: "").replacingOccurrences(of: Place.root.path + "/", with: "")
      try Page.put("```\n" + text + "\n```\n", at: "redis", into: page)
    }
    withExtendedLifetime(clients) {}
    _ = try ask("shutdown nosave")
    let ended = redis.end()
    #expect(ended.succeeded, ended.report)
  }

  /// These, one after another.
  private func demand(_ text: String, _ pieces: String...) throws {
    var rest = Substring(text)
    for piece in pieces {
      let place = try #require(rest.firstRange(of: piece), "\(piece) is missing: \(text)")
      rest = rest[place.upperBound...]
    }
  }
}
