// SPDX-License-Identifier: BSD-2-Clause
//
// Names kept in place, and reports: composed without memory of their own, seen through a pipe.

import CPlatform
import Foundation
import Testing

@testable import Primitives

/// What `compose` writes.
private func written(_ compose: (inout Report) -> Void) -> String {
  var report = Report()
  compose(&report)
  let pipe = Pipe()
  report.write(to: pipe.fileHandleForWriting.fileDescriptor)
  try! pipe.fileHandleForWriting.close()
  return String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
}

private func text(_ name: FixedName) -> String {
  String(decoding: (0..<name.count).map { name.bytes[$0] }, as: UTF8.self)
}

@Suite struct ReportTests {
  @Test func `names are cut at 31 bytes and always end with a zero`() {
    #expect(text(FixedName()) == "")
    #expect(text(FixedName("malloc-")) == "malloc-")
    let long = FixedName("0123456789012345678901234567890123456789")
    #expect(long.count == 31)
    #expect(long.bytes[31] == 0)
    let same = "0123456789012345678901234567890123456789".withCString { FixedName(cString: $0) }
    #expect(long.equals(same), "names that differ beyond the cut are equal (T14)")
    #expect(text("kegs".withCString { FixedName(cString: $0) }) == "kegs")
  }

  @Test(arguments: [(0, "z0"), (7, "z7"), (10, "z10"), (128, "z128"), (32768, "z32768"), (Int.max, "z9223372036854775807")])
  func `numbers are appended in decimal`(number: Int, expected: String) {
    #expect(text(FixedName("z").appending(number: number)) == expected)
  }

  @Test func `a number that does not fit is cut`() {
    let name = FixedName("012345678901234567890123456789").appending(number: 12345)
    #expect(text(name) == "0123456789012345678901234567891")
  }

  @Test func `equality looks at the whole name`() {
    #expect(FixedName("a").equals(FixedName("a")))
    #expect(!FixedName("a").equals(FixedName("ab")))
    #expect(!FixedName("a").equals(FixedName("b")))
  }

  @Test func `numbers, addresses and columns`() {
    #expect(written { $0.number(0) } == "0")
    #expect(written { $0.number(.max) } == "18446744073709551615")
    #expect(written { $0.number(10_000) } == "10000")
    #expect(written { $0.number(42, width: 5) } == "   42")
    #expect(written { $0.number(123456, width: 3) } == "123456")
    #expect(written { $0.number(.max, width: 21) } == " 18446744073709551615")
    #expect(written { $0.address(0) } == "0x0")
    #expect(written { $0.address(0x7fff_0000_1a2b) } == "0x7fff00001a2b")
    #expect(written { $0.address(.max) } == "0xffffffffffffffff")
    #expect(written { $0.pad(-3) } == "")
  }

  @Test(arguments: [
    (0, "1970-01-01 00:00:00"), (951_782_399, "2000-02-28 23:59:59"), (951_782_400, "2000-02-29 00:00:00"), (951_868_800, "2000-03-01 00:00:00"),
    (1_709_164_800, "2024-02-29 00:00:00"), (1_735_689_599, "2024-12-31 23:59:59"), (1_735_689_600, "2025-01-01 00:00:00"), (4_107_542_400, "2100-03-01 00:00:00"),
  ])
  func `dates are those of the calendar`(seconds: Int, expected: String) {
    #expect(written { $0.date(seconds: Int64(seconds)) } == expected)
    let formatter = ISO8601DateFormatter()
    formatter.formatOptions = [.withInternetDateTime]
    #expect(formatter.string(from: Date(timeIntervalSince1970: Double(seconds))) == expected.split(separator: " ").joined(separator: "T") + "Z")
  }

  @Test func `behind the thousandth report nothing is written, however long one is`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      stave_reports().pointee.mode = ReportMode.goOn
      for _ in 0..<1003 {
        var report = Report("test")
        for _ in 0..<30 { report.text("0123456789 0123456789 0123456789\n") }
        report.finish(next: "nothing")
      }
      precondition(stave_reports().pointee.count == 1003)
    }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    let reports = text.components(separatedBy: "]: test: ").dropFirst()
    #expect(reports.count == 1000)
    for report in reports.dropLast() {
      let lines = report.split(separator: "\n")
      #expect(lines.count == 33 && lines[..<30].allSatisfy { $0.hasPrefix("0123456789 ") }, "\(report)")
    }
    #expect(text.hasSuffix("  further reports are counted, not written\n"))
  }

  @Test func `pieces join to one text`() {
    let text = written { report in
      report.text("zone ")
      report.name(FixedName("buffers"))
      report.text(": ")
      report.number(3)
      let bytes = Array(" items".utf8)
      report.bytes(bytes, count: bytes.count)
      report.newline()
    }
    #expect(text == "zone buffers: 3 items\n")
  }

  @Test func `a report too long for its buffer is cut, not written beyond it`() {
    let text = written { report in for _ in 0..<1000 { report.byte(120) } }
    #expect(text == String(repeating: "x", count: 768))
  }

  @Test func `writing empties the report`() {
    var report = Report()
    report.text("once")
    let pipe = Pipe()
    let file = pipe.fileHandleForWriting.fileDescriptor
    report.write(to: file)
    report.write(to: file)
    report.text("again")
    report.write(to: file)
    try! pipe.fileHandleForWriting.close()
    #expect(String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) == "onceagain")
  }

  @Test func `a report begins with process and thread`() {
    var report = Report("double free")
    let pipe = Pipe()
    report.write(to: pipe.fileHandleForWriting.fileDescriptor)
    try! pipe.fileHandleForWriting.close()
    let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(text == "stave[\(stave_getpid())/\(stave_gettid())]: double free: ")
  }

  @Test func `a closed file does not stop a report for ever`() {
    var report = Report()
    report.text("lost")
    report.write(to: -1)
    #expect(report.used == 0)
  }

  @Test func `stopping writes to standard error and raises SIGABRT`() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      var report = Report("kind")
      report.text("and what was found\n")
      report.stop()
    }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(text.contains("kind: and what was found\n"))
  }

  @Test func `a handler for SIGABRT that returns does not save the process`() async {
    await #expect(processExitsWith: .signal(SIGABRT)) {
      signal(SIGABRT) { _ in }
      var report = Report("kind")
      report.stop()
    }
  }
}
