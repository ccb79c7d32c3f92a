// SPDX-License-Identifier: BSD-2-Clause
//
// Real programs, as far as they are installed, with the inputs that they need. Scripts come from Programs/, large inputs
// are generated into the scratch folder. With nothing but Swift and python, four of them remain.

import Foundation

struct Programs {
  var scripts: URL
  var scratch: URL
  var scale: Double

  static let names = [
    "python", "python-malloc", "sqlite", "git-log", "git-pack", "clang", "swift-typecheck", "swift-compile", "perl", "redis",
  ]

  /// The program's scenario with its inputs made, or nil, with a word about it, if it is not there.
  func scenario(_ name: String) throws -> Scenario? {
    let made = try make(name)
    if made == nil { say("program/\(name): not installed, left out") }
    return made
  }

  private func make(_ name: String) throws -> Scenario? {
    switch name {
    case "python": return python.map { plain(name, [$0, script("values.py"), String(scale)]) }
    case "python-malloc":
      return python.map {
        var scenario = plain(name, [$0, script("values.py"), String(scale)])
        scenario.environment["PYTHONMALLOC"] = "malloc"
        return scenario
      }
    case "perl": return findTool("perl").map { plain(name, [$0, script("words.pl"), String(scale)]) }
    case "sqlite": return try findTool("sqlite3").map { plain(name, [$0, ":memory:", ".read \(try orders())"]) }
    case "git-log": return try git(name, ["log", "-p", "-M", "--stat", "-n", String(count(500))])
    case "git-pack":
      return try git(
        name, ["pack-objects", "--all", "--threads=1", "--no-reuse-delta", "--no-reuse-object", "--window=\(count(40))", "-q", "--stdout"])
    case "clang": return try compiler.map { plain(name, [$0, "-O1", "-c", "-o", "/dev/null", try write("big.c", Inputs.c(functions: count(250)))]) }
    case "swift-typecheck": return try swift(name, ["-typecheck"], functions: 100)
    case "swift-compile": return try swift(name, ["-Onone", "-c", "-o", "/dev/null", "-module-name", "big"], functions: 20)
    case "redis": return redis()
    default: throw Complaint("no program \(name)")
    }
  }

  private func plain(_ name: String, _ command: [String]) -> Scenario { Scenario(name: "program/\(name)", command: command) }
  private func script(_ name: String) -> String { scripts.appendingPathComponent(name).path }
  private func count(_ full: Double) -> Int { max(1, Int(full * scale)) }

  private func write(_ name: String, _ text: String) throws -> String {
    let file = scratch.appendingPathComponent(name)
    try text.write(to: file, atomically: true, encoding: .utf8)
    return file.path
  }

  /// The interpreter itself, where `python3` is a script that looks for it.
  private var python: String? { output(of: ["python3", "-c", "import sys; print(sys.executable)"]) }

  /// The clang beside swiftc, or any C compiler.
  private var compiler: String? {
    let sibling = findTool("swiftc").flatMap { findTool(($0 as NSString).deletingLastPathComponent + "/clang") }
    return sibling ?? findTool("clang") ?? findTool("cc")
  }

  private func orders() throws -> String {
    let text = try String(contentsOf: scripts.appendingPathComponent("orders.sql"), encoding: .utf8)
    return try write("orders.sql", text.replacingOccurrences(of: "@ROWS@", with: String(count(200_000))))
  }

  private func swift(_ name: String, _ options: [String], functions: Double) throws -> Scenario? {
    guard let tool = findTool("swiftc") else { return nil }
    let source = try write("\(name).swift", Inputs.swift(functions: count(functions)))
    return plain(name, [tool] + options + [source])
  }

  private func git(_ name: String, _ command: [String]) throws -> Scenario? {
    guard let tool = findTool("git") else { return nil }
    let repository = scratch.appendingPathComponent("repository")
    if !FileManager.default.fileExists(atPath: repository.path) {
      let stream = URL(fileURLWithPath: try write("history", Inputs.history(commits: count(500), files: 60)))
      let bare = ["HOME": scratch.path, "GIT_CONFIG_NOSYSTEM": "1", "PATH": "/usr/bin:/bin"]
      guard output(of: [tool, "init", "-q", "-b", "main", repository.path], environment: bare) != nil,
        output(of: [tool, "-C", repository.path, "fast-import", "--quiet"], environment: bare, input: stream) != nil
      else { throw Complaint("git could not make a repository") }
    }
    var scenario = plain(name, [tool, "-C", repository.path, "--no-pager"] + command)
    scenario.environment["GIT_CONFIG_NOSYSTEM"] = "1"
    return scenario
  }

  private func redis() -> Scenario? {
    guard findTool("redis-server") != nil, findTool("redis-cli") != nil, findTool("redis-benchmark") != nil else { return nil }
    var scenario = plain("redis", ["/bin/sh", script("redis.sh"), scratch.path, String(count(120_000))])
    scenario.comparesOutput = false
    scenario.bringsAllocator = true
    return scenario
  }
}
