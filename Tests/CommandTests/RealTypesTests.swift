// SPDX-License-Identifier: BSD-2-Clause
//
// Who holds the memory of real programs of several libraries: with `types:library` every byte in use is some library's, and
// `stave types`, `stave zones` and `stave sum` agree to the byte on a process that stands still. STAVE_TABLES names a folder
// for what `stave types` prints; `Scripts/type-tables` puts it into Documentation/Types.md.

import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized, .enabled(if: Built.hasLibrary, "make builds the library")) struct RealTypesTests {
  @Test func `Python, numpy and sqlite share all memory among them`() throws {
    guard let python = pythonWithNumpy() else { return announceSkip("types of Python: python3 with numpy is not installed") }
    let script = """
      import json, os, signal, sqlite3
      import numpy
      base = sqlite3.connect(':memory:')
      base.execute('create table points(x real, y real, label text)')
      numbers = numpy.random.default_rng(1).normal(size=(20000, 2))
      base.executemany('insert into points values(?, ?, ?)', ((x, y, f'point {i}') for i, (x, y) in enumerate(numbers.tolist())))
      base.execute('create index byX on points(x)')
      rows = base.execute('select x, y, label from points where x > 1 order by y').fetchall()
      spread = numpy.linalg.inv(numpy.cov(numpy.array([row[:2] for row in rows]).T))
      text = json.dumps([list(row) for row in rows])
      os.kill(os.getpid(), signal.SIGSTOP)
      """
    let look = try #require(try Look(stopping: python, ["-c", script], ["PYTHONMALLOC": "malloc"]))
    look.check()
    look.keep("python")
    #expect(look.share("libpython", "python3") > 0.2, "objects, not behind libc: \(look.memory)")
    #expect(look.bytes("libsqlite3") > 800_000, "the table and its index: \(look.memory)")
    #expect(look.bytes("_multiarray_umath") > 320_000, "the array of 20,000 pairs: \(look.memory)")
  }

  @Test func `a C++ program: the GNU debugger's libraries each have their own`() throws {
    guard let gdb = find("gdb"), let compiler = find("gcc", "clang", "cc") else { return announceSkip("types of gdb: gdb or a compiler is not installed") }
    let folder = Folder()
    let source = folder.write("struct point { int x, y; } origin; int main(void) { return origin.x; }\n", "small.c")
    try #require(try run(compiler, ["-g", source, "-o", folder.file("small")]).succeeded)
    let stop = "shell kill -STOP $PPID"
    let words = ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "file \(folder.file("small"))", "-ex", "break main", "-ex", "ptype struct point", "-ex", "info line main", "-ex", stop]
    let look = try #require(try Look(stopping: gdb, words))
    look.check()
    look.keep("gdb")
    #expect(look.share("gdb") > 0.3, "the program, through libstdc++: \(look.memory)")
    #expect(look.memory.count >= 4, "\(look.memory)")
  }

  @Test func `a Swift program's memory is its own, not its runtime's`() throws {
    guard let compiler = find("swiftc") else { return announceSkip("types of a Swift program: no swiftc") }
    let folder = Folder()
    let source = folder.write(
      """
      import Foundation
      struct Entry: Codable { var name: String; var values: [Double]; var when: Date }
      final class Node { var next: Node?; var label: String; init(_ label: String, _ next: Node?) { (self.label, self.next) = (label, next) } }
      var entries = (0..<2000).map { Entry(name: "entry number \\($0), with a long name", values: (0..<20).map(Double.init), when: Date()) }
      let text = try JSONEncoder().encode(entries)
      let again = try JSONDecoder().decode([Entry].self, from: text)
      var index = Dictionary(grouping: again) { $0.name.suffix(4) }
      var list: Node?
      for entry in again { list = Node(entry.name + "!", list) }
      let formatted = NumberFormatter().string(from: 12345.678)
      kill(getpid(), SIGSTOP)
      print(entries.count, index.count, list?.label ?? "", formatted ?? "")
      """, "main.swift")
    let built = try run(compiler, ["-O", source, "-o", folder.file("entries")])
    try #require(built.succeeded, built.report)
    let look = try #require(try Look(stopping: folder.file("entries"), []))
    look.check()
    look.keep("swift")
    #expect(look.share("entries") > 0.5, "through libswiftCore and Foundation: \(look.memory)")
  }

  @Test func `a PostgreSQL server: its backend's libraries have all of its memory`() throws {
    guard let server = try PostgresServer() else { return }
    let backend = try server.backend(running: Self.queries)
    kill(backend, SIGSTOP)
    defer { kill(backend, SIGCONT) }
    let look = try Look(of: backend)
    look.check()
    look.keep("postgres")
    #expect(look.share("postgres") > 0.5, "\(look.memory)")
    #expect(!look.memory.keys.contains { $0.hasPrefix("postgres:") }, "the name that it shows in ps: \(look.memory)")
  }

  private static let queries = #"""
    create table words as select i, md5(i::text) as word, repeat(chr(97 + i % 26), i % 400) as body from generate_series(1, 20000) i;
    create index on words(word);
    prepare look(int) as select * from words where i = $1;
    create function twice(n int) returns int language plpgsql as 'begin return 2 * n; end';
    select sum(twice(i)) from words;
    select count(*) from (select distinct regexp_replace(body, '(.)\1*', '\1') from words) x;
    select json_agg(words) is not null from words where i < 100;
    begin;
    declare c cursor for select * from words order by body;
    fetch 10 from c;
    """#

  private func pythonWithNumpy() -> String? {
    for name in ["python3", "/usr/bin/python3"] {
      guard let python = name.hasPrefix("/") ? name : find(name) else { continue }
      if (try? run(python, ["-c", "import numpy, sqlite3"]))?.succeeded == true { return python }
    }
    return nil
  }
}

/// What the three views say of one process that stands still.
private struct Look {
  var process: pid_t
  /// Bytes by type, of types that have any.
  var memory: [String: Int] = [:]
  var types: [[String: Any]] = []
  var zones: [[String: Any]] = []
  /// The sum as each of the views tells it.
  var sums: [[String: Any]] = []
  private var started: Started?

  /// Runs a program with `types:library` until it stops itself.
  init?(stopping program: String, _ arguments: [String], _ environment: [String: String] = [:]) throws {
    let all = ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "types:library,background:0", "LC_ALL": "C.UTF-8"].merging(environment) { $1 }
    let started = try Started(program, arguments, environment: all)
    guard wait({ (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false }) else {
      Issue.record("it has not come to its end: \(started.complained)")
      return nil
    }
    try self.init(of: started.id)
    self.started = started
  }

  init(of process: pid_t) throws {
    self.process = process
    let types = try Self.view(["types", "--all", "--json", "\(process)"]), zones = try Self.view(["zones", "--all", "--json", "\(process)"])
    let sum = try Self.view(["sum", "--json", "\(process)"])
    self.types = try #require((types["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]])
    self.zones = try #require((zones["memory-zone-statistics"] as? [String: Any])?["zone"] as? [[String: Any]])
    sums = [try #require(types["sum"] as? [String: Any]), try #require(zones["sum"] as? [String: Any]), sum]
    for type in self.types where number(type, "memory-use") > 0 { memory[type["type"] as? String ?? "", default: 0] += number(type, "memory-use") }
  }

  private static func view(_ words: [String]) throws -> [String: Any] {
    let ended = try start(Built.command, words).end()
    try #require(ended.status == 0, ended.report)
    return try object(ended.text)
  }

  private func number(_ row: [String: Any], _ key: String) -> Int { row[key] as? Int ?? .min / 1_000_000 }

  func bytes(_ prefixes: String...) -> Int { memory.filter { type in prefixes.contains { type.key.hasPrefix($0) } }.values.reduce(0, +) }
  func share(_ prefixes: String...) -> Double {
    Double(memory.filter { type in prefixes.contains { type.key.hasPrefix($0) } }.values.reduce(0, +)) / Double(max(1, number(sums[0], "used")))
  }

  func check() {
    let used = number(sums[0], "used"), large = number(sums[0], "large-bytes"), largeBlocks = number(sums[0], "large-blocks")
    let inZones = zones.reduce(0) { $0 + number($1, "used") * number($1, "size") }
    #expect(used > 100_000 && memory.values.reduce(0, +) == used, "types and sum: \(memory)")
    #expect(inZones + large == used, "zones and sum")
    #expect(types.reduce(0) { $0 + number($1, "in-use") } == zones.reduce(0) { $0 + number($1, "used") } + largeBlocks, "blocks")
    #expect(types.reduce(0) { $0 + number($1, "large-bytes") } == large)
    for key in ["used", "cached", "holes", "metadata", "purgeable", "returned", "mapped", "large-bytes", "large-blocks"] {
      #expect(Set(sums.map { number($0, key) }).count == 1, "\(key) is one figure in all views")
    }
    #expect(types.allSatisfy { type in ["in-use", "memory-use", "requests", "fail"].allSatisfy { number(type, $0) >= 0 } })
    // What nobody is charged for, and what lies at libraries that only forward.
    #expect(bytes("malloc") == 0, "memory without a library: \(memory)")
    #expect(share("libc.so", "libstdc++", "libc++", "libswiftCore", "libFoundation", "libglib", "no file", "libstave") < 0.02, "at forwarders: \(memory)")
  }

  /// The table for the documentation.
  func keep(_ name: String) {
    guard let folder = ProcessInfo.processInfo.environment["STAVE_TABLES"], !folder.isEmpty else { return }
    let text = (try? stave("types", "--sort", "memory", "\(process)").text) ?? ""
    try? text.write(toFile: "\(folder)/\(name).txt", atomically: true, encoding: .utf8)
  }
}

/// A PostgreSQL server under `stave run -o types:library`, in a folder of its own, as a user without rights; it ends with this.
private final class PostgresServer {
  private let folder = URL(filePath: "/tmp/stave-\(UUID().uuidString.prefix(8))")
  private var running: Started?
  private var asking: Started?
  private var environment: [String: String] = [:]
  private let prefix: [String]

  /// Nil, said aloud, where PostgreSQL is not installed.
  init?() throws {
    let base = "/usr/lib/postgresql"
    let versions = ((try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []).map { "\(base)/\($0)/bin" }
    guard let initdb = find("initdb", alsoIn: versions), let postgres = find("postgres", alsoIn: versions), find("psql", alsoIn: versions) != nil else {
      announceSkip("types of PostgreSQL: not installed")
      return nil
    }
    let path = ([plainEnvironment["PATH"] ?? "/usr/bin:/bin"] + versions).joined(separator: ":")
    if geteuid() == 0 {
      guard let setpriv = find("setpriv") else {
        announceSkip("types of PostgreSQL: setpriv is not installed, and the server refuses to run as root")
        return nil
      }
      prefix = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    } else {
      prefix = []
    }
    // Copies: the user without rights may not come to where these are.
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    for (from, name) in [(Built.command, "stave"), (Built.library, "libstave.so")] {
      try FileManager.default.copyItem(at: URL(filePath: from).resolvingSymlinksInPath(), to: folder.appending(path: name))
      chmod(folder.appending(path: name).path, 0o755)
    }
    let work = folder.appending(path: "work").path
    try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
    if !prefix.isEmpty { chown(work, 65534, 65534) }
    environment = [
      "HOME": work, "TMPDIR": work, "LC_ALL": "C", "TZ": "UTC", "PATH": path, "STAVE_LIBRARY": folder.appending(path: "libstave.so").path,
      "PGHOST": work, "PGUSER": "cooper", "PGDATABASE": "postgres",
    ]
    let made = try launch([initdb, "-D", "data", "-A", "trust", "-U", "cooper", "--no-sync", "--no-locale", "-E", "UTF8"]).end(within: 120)
    try #require(made.succeeded, made.report)
    let command = folder.appending(path: "stave").path
    running = try launch([command, "run", "-o", "types:library,background:0", "--", postgres, "-D", "data", "-F", "-h", "", "-k", work])
  }

  deinit {
    asking = nil
    // Its children are in its sessions: an immediate shutdown takes them along.
    if let running {
      kill(running.id, SIGQUIT)
      _ = running.end(within: 10)
    }
    try? FileManager.default.removeItem(at: folder)
  }

  private func launch(_ words: [String], input: String = "/dev/null") throws -> Started {
    let all = prefix + words
    return try Started(all[0], Array(all.dropFirst()), environment: environment, in: folder.appending(path: "work").path, input: input)
  }

  /// The process that has done the queries and now waits for more.
  func backend(running queries: String) throws -> pid_t {
    let file = folder.appending(path: "queries")
    try (queries + "\nselect 'backend ' || pg_backend_pid();\n").write(to: file, atomically: true, encoding: .utf8)
    let script = """
      tries=0
      until psql -c 'select 1' > /dev/null 2>&1; do tries=$((tries + 1)); [ $tries -lt 300 ] || exit 1; sleep 0.1; done
      { cat; exec sleep 600; } | psql -At
      """
    asking = try launch(["/bin/sh", "-c", script], input: file.path)
    var backend: pid_t?
    _ = wait {
      backend = asking?.printed.split(separator: "\n").first { $0.hasPrefix("backend ") }.flatMap { pid_t($0.dropFirst(8)) }
      return backend != nil
    }
    // The answer is sent just before it waits.
    _ = wait { backend.flatMap { try? String(contentsOfFile: "/proc/\($0)/stat", encoding: .utf8) }?.contains(") S ") ?? false }
    usleep(300_000)
    return try #require(backend, "the server does not answer: \(running?.complained ?? "") \(asking?.complained ?? "")")
  }
}
