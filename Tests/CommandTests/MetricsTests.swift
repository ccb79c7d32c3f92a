// SPDX-License-Identifier: BSD-2-Clause
//
// The metrics, as those who scrape them see it: the Python package prometheus_client reads every format, and an HTTP client asks the
// exporter. The first needs pip to be able to install that package, the second `make listener`; without them it is skipped aloud.

import Foundation
import Testing

@testable import TestSupport

/// Runs a program to its end; what it printed, nil if it failed.
private func output(_ program: String, _ arguments: [String]) -> String? {
  guard let ended = try? Started("/usr/bin/env", [program] + arguments).end(), ended.status == 0 else { return nil }
  return ended.text
}

/// Python with prometheus_client, in a folder of this build; nil where it cannot be had.
private let python: String? = {
  let folder = Place.root.appending(path: ".build/prometheus").path
  let python = folder + "/bin/python3"
  if output(python, ["-c", "import prometheus_client"]) != nil { return python }
  guard output("python3", ["-m", "venv", folder]) != nil else { return nil }
  guard output(python, ["-m", "pip", "install", "-q", "--disable-pip-version-check", "prometheus_client"]) != nil else { return nil }
  return python
}()

/// Prints "family type unit value-of-one-sample" lines of the text in a file.
private let reader = """
  import sys
  text = open(sys.argv[2]).read()
  if sys.argv[1] == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
  else:
    from prometheus_client.parser import text_string_to_metric_families as parse
  for family in parse(text):
    for sample in family.samples:
      print(family.name, family.type, family.unit or "-", sample.name, sample.labels.get("zone", "-"), sample.value)
  """

@Suite(.serialized, .enabled(if: Built.hasLibrary, "make builds the library")) struct MetricsTests {
  /// What it takes to have it may be longer than a process under test sleeps.
  init() { _ = python }

  private func parsed(_ text: String, as format: String) throws -> [[Substring]]? {
    guard let python else {
      announceSkip("metrics: no Python with prometheus_client")
      return nil
    }
    let folder = Folder()
    let ended = try start(python, ["-c", reader, format, folder.write(text)]).end()
    #expect(ended.status == 0, "\(ended.errorText)")
    return ended.text.split(separator: "\n").map { $0.split(separator: " ") }
  }

  @Test func `an independent parser reads the metrics, with types, units and the figures of the tables`() throws {
    try withSleeper { process in
      let text = try stave("metrics", "\(process)").text
      guard let samples = try parsed(text, as: "openmetrics") else { return }
      func value(_ name: String, _ zone: String = "-") -> Int? { samples.first { $0[3] == name && $0[4] == zone }.flatMap { Double($0[5]) }.map { Int($0) } }
      let sum = try object(stave("sum", "\(process)", "--json").text)
      for part in ["used", "cached", "holes", "metadata", "purgeable", "returned", "mapped"] {
        #expect(value("stave_\(part)_bytes") == sum[part] as? Int, "\(part)")
      }
      let zones = try object(stave("zones", "--all", "--json", "\(process)").text)["memory-zone-statistics"] as? [String: [[String: Any]]]
      for zone in try #require(zones?["zone"]) {
        let name = try #require(zone["name"] as? String)
        #expect(value("stave_zone_requests_total", name) == zone["requests"] as? Int)
        #expect(value("stave_zone_used_items", name) == zone["used"] as? Int)
      }
      #expect(value("stave_info") == 1 && (value("stave_resident_bytes") ?? 0) > 1 << 20)
      #expect(samples.contains { $0[0] == "stave_zone_requests" && $0[1] == "counter" && $0[2] == "-" })
      #expect(samples.contains { $0[0] == "stave_used_bytes" && $0[1] == "gauge" && $0[2] == "bytes" })
      #expect(samples.contains { $0[0] == "stave" && $0[1] == "info" })
    }
  }

  @Test func `the textfile collector's format goes to a file, as a whole`() throws {
    try withSleeper { process in
      let folder = Folder()
      let file = folder.file("stave.prom")
      let ended = try stave("metrics", "\(process)", "--textfile", file)
      #expect(ended.status == 0 && ended.text.isEmpty, "\(ended)")
      if let samples = try parsed(String(contentsOfFile: file, encoding: .utf8), as: "prometheus") {
        #expect(samples.contains { $0[3] == "stave_used_bytes" && $0[1] == "gauge" } && samples.contains { $0[3] == "stave_zone_requests_total" && $0[1] == "counter" })
      }
      #expect(try stave("metrics", "\(process)", "--textfile", "/nonexistent/x.prom").status == 1)
    }
  }

  @Test func `without an HTTP server the command says how to get one`() throws {
    for bad in ["9101", ":9101", "host:", "host:99999", "::1:9101"] { #expect(try stave("metrics", "1", "--listen", bad).status == 2) }
    let ended = try stave("metrics", "\(getpid())", "--listen", "127.0.0.1:0")
    #expect(ended.status == 2 && ended.errorText.contains("make TRAITS=NIO"))
  }

  // MARK: - HTTP

  private static let listener = Place.root.appending(path: ".build/listener/debug/stave").path
  private static var hasListener: Bool { FileManager.default.isExecutableFile(atPath: listener) }

  /// Status, headers and body of a request by curl.
  private func get(_ url: String, _ more: String...) -> (status: Int, head: String, body: String)? {
    guard let text = output("curl", ["-s", "-i", "--max-time", "60"] + more + [url]) else { return nil }
    let parts = text.replacingOccurrences(of: "\r", with: "").components(separatedBy: "\n\n")
    let status = parts[0].split(separator: " ").dropFirst().first.flatMap { Int($0) }
    return (status ?? 0, parts[0], parts.dropFirst().joined(separator: "\n\n"))
  }

  /// Starts the exporter and waits for its address.
  private func serve(_ arguments: String...) throws -> (Started, String)? {
    let server = try start(Self.listener, ["metrics"] + arguments)
    for _ in 0..<6000 {
      let text = server.complained
      if let start = text.range(of: "http://"), text.hasSuffix("\n") { return (server, text[start.lowerBound...].trimmingCharacters(in: .whitespacesAndNewlines)) }
      usleep(10_000)
    }
    Issue.record("it does not listen")
    return nil
  }

  @Test func `an exporter takes a fresh look for each scrape, says that a process has gone, and ends by a signal`() throws {
    guard Self.hasListener else { return announceSkip("metrics by HTTP: `make listener` builds the command for it") }
    guard output("curl", ["--version"]) != nil else { return announceSkip("metrics by HTTP: no curl") }
    try withSleeper { process in
      guard let (server, url) = try serve("\(process)", "--listen", "127.0.0.1:0") else { return }
      let first = try #require(get(url))
      #expect(first.status == 200 && first.head.lowercased().contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"))
      #expect(first.body.hasSuffix("# EOF\n"))
      _ = try parsed(first.body, as: "openmetrics")
      _ = try stave("set", "\(process)", "period=77")
      let head = try #require(get(url, "--head"))
      #expect(head.status == 200 && head.body.isEmpty)
      #expect(get(url, "-X", "POST")?.status == 405)
      #expect(get(url.replacingOccurrences(of: "/metrics", with: "/nothing"))?.status == 404)
      #expect(get(url.replacingOccurrences(of: "/metrics", with: "/metrics?x=1"))?.status == 200)
      // Who sends no HTTP, or nothing at all, does not keep others waiting.
      let idle = try start("/bin/sh", ["-c", "exec curl -s --max-time 30 telnet://\(url.dropFirst(7).dropLast(8))"], input: "/dev/zero")
      #expect(get(url)?.status == 200)
      kill(process, SIGKILL)
      _ = wait { kill(process, 0) != 0 || (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8))?.contains(") Z ") ?? true }
      let gone = try #require(get(url))
      #expect(gone.status == 503 && gone.body.hasPrefix("no process \(process): it has ended"))
      _ = idle
      kill(server.id, SIGTERM)
      let ended = server.end()
      #expect(ended.status == 0 && ended.text.isEmpty)
    }
  }

  @Test func `an exporter by name goes on with the next of that name; SIGINT ends it; a port in use is an error`() throws {
    guard Self.hasListener, output("curl", ["--version"]) != nil else { return }
    let name = "st\(getpid() % 100_000)x"
    let copy = FileManager.default.temporaryDirectory.appending(path: name)
    defer { try? FileManager.default.removeItem(at: copy) }
    try FileManager.default.copyItem(atPath: "/bin/sleep", toPath: copy.path)
    func sleeper() throws -> Started {
      let started = try start(Built.command, ["run", "--", copy.path, "60"])
      for _ in 0..<200 where try stave("sum", "--name", name).status != 0 { usleep(20_000) }
      return started
    }
    /// That it is this process whose figures are at the address.
    func expect(_ process: Started, at url: String) {
      let answer = get(url)
      #expect(answer?.body.contains("pid=\"\(process.id)\"") == true, "\(answer.map { "\($0.status) \($0.body.prefix(300))" } ?? "no answer")")
    }
    var one: Started? = try sleeper()
    guard let (server, url) = try serve("--name", name, "--listen", "127.0.0.1:0") else { return }
    expect(one!, at: url)
    let port = url.split(separator: ":").last!.prefix { $0 != "/" }
    let second = try start(Self.listener, ["metrics", "--name", name, "--listen", "127.0.0.1:\(port)"]).end()
    #expect(second.status == 1 && second.errorText.contains("cannot listen at 127.0.0.1:\(port)"), "\(second)")
    kill(one!.id, SIGKILL)
    _ = one!.end()
    #expect(get(url)?.status == 503)
    one = try sleeper()
    expect(one!, at: url)
    kill(server.id, SIGINT)
    let ended = server.end()
    #expect(ended.status == 0)
  }
}
