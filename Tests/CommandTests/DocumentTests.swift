// SPDX-License-Identifier: BSD-2-Clause
//
// What is written about the command and the options is what they are: the README's table, the manual, an installation.

import Exporters
import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized) struct DocumentTests {
  @Test func `the README's options are the library's`() throws {
    let text = try String(contentsOf: Place.root.appending(path: "README.md"), encoding: .utf8)
    let table = "<!-- options -->\n" + OptionList.markdown.joined(separator: "\n") + "\n<!-- end of options -->"
    #expect(text.contains(table), "make readme writes it anew")
  }

  @Test func `the probes of the library and their page are those of the list`() throws {
    for part in Probe.Part.allCases {
      let header = try String(contentsOf: Place.root.appending(path: part.path), encoding: .utf8)
      #expect(header == Probe.header(part), "make probes writes it anew")
    }
    #expect(Set(Probe.all.map(\.title)).count == Probe.all.count)
    for probe in Probe.all { #expect(!probe.arguments.isEmpty && probe.arguments.count <= 6, "\(probe.title)") }
    let page = Place.root.appending(path: "build/man/man5/stave_probes.5")
    guard Built.hasManual, let text = try? String(contentsOf: page, encoding: .utf8) else { return announceSkip("stave_probes(5): make manuals builds it") }
    for probe in Probe.all {
      #expect(text.contains(".It Fn \(probe.provider)\\&:\(probe.name) "), "\(probe.title)")
      for argument in probe.arguments { #expect(text.contains("\(argument.name)\""), "\(probe.title) \(argument.name)") }
    }
  }

  @Test func `stave_options(5) has each option, with the names that it takes`() throws {
    let page = Place.root.appending(path: "build/man/man5/stave_options.5")
    guard Built.hasManual, let text = try? String(contentsOf: page, encoding: .utf8) else { return announceSkip("stave_options(5): make manuals builds it") }
    for entry in OptionList.entries { #expect(text.contains(".It Cm \(entry.key) : Ns Ar "), "\(entry.key)") }
    for key in ["probes", "redzone_type", "memguard_type"] {
      #expect(text.contains(".It Cm \(key) : Ns Ar all | none | listed | name+name...\n"), "\(key)")
    }
    #expect(text.contains("up to 16 names as in a+b"))
  }

  @Test func `options are checked as the library checks them`() {
    #expect(OptionList.problem(in: "percpu:locked,period:5,,verbose:1") == nil)
    #expect(OptionList.problem(in: "PERCPU:auto") == nil)
    let names = Array(repeating: "a", count: 16).joined(separator: "+")
    #expect(OptionList.problem(in: "probes:\(names)") == nil)
    #expect(OptionList.problem(in: "perod:5")?.contains("no option perod") == true)
    #expect(OptionList.problem(in: "memguard_width:64M") == nil)
    #expect(OptionList.problem(in: "memguard_width:65M") == "memguard_width takes bytes, 0 to 64M; not 65M.")
    #expect(OptionList.problem(in: "report:x.log") == "report takes stderr, syslog, /path; not x.log.")
    for bad in ["period", "period:", "period:0", "period:-1", "period:+1", "period:x", "verbose:2", "percpu:maybe", "failure_rate:99999999999999999999", "probes:+", "probes:\(names)+b"] {
      #expect(OptionList.problem(in: bad) != nil, "\(bad)")
    }
  }

  @Test func `stave(3) tells of each function of stave.h, and of no other`() throws {
    let header = try String(contentsOf: Place.root.appending(path: "Sources/StaveC/include/stave.h"), encoding: .utf8)
    func hand(_ name: String) throws -> String { try String(contentsOf: Place.root.appending(path: "Documentation/man/\(name)"), encoding: .utf8) }
    let page = try hand("stave.3"), contiguous = try hand("stave_contigmalloc.3")
    let code = header.split(separator: "\n").filter { !$0.hasPrefix("//") && !$0.hasPrefix("#") && !$0.hasPrefix(" ") }.joined(separator: "\n")
    let declared = Set(code.matches(of: /\b(stave_[a-z_]+)\(/).map { String($0.1) })
    #expect(declared.count >= 10)
    for name in declared {
      // Two have a page of their own.
      if name.hasPrefix("stave_contig") {
        #expect(contiguous.contains(".Fn \(name)") && page.contains(".Xr stave_contigmalloc 3"), "\(name) is missing")
        continue
      }
      #expect(page.contains(".Fn \(name) \""), "\(name) is missing from the synopsis")
      #expect(page.contains(".It Fn \(name)\n"), "\(name) is not described")
      #expect(page.contains(".It Fn \(name) Ta "), "whether \(name) blocks is missing")
    }
    for name in page.matches(of: /\.Fn (stave_[a-z_]+) "/).map({ String($0.1) }) { #expect(declared.contains(name), "\(name) is not in stave.h") }
  }

  /// `make install` into an empty folder, with what `make` has built; then the command in there must find the library in there.
  @Test(.enabled(if: Built.hasManual, "make all manuals builds what is installed")) func `an installation is whole`() throws {
    let script = Place.root.appending(path: "Scripts/check-install").path
    let ended = try start("/bin/sh", [script], ["STAVE_LIBRARY": ""]).end()
    #expect(ended.status == 0, "\(ended.text)\n\(ended.errorText)")
    for line in ended.text.split(separator: "\n") where line.hasPrefix("SKIPPED") { print(line) }
  }
}
