// SPDX-License-Identifier: BSD-2-Clause
//
// Options from an environment: what is taken, what is refused aloud, what is passed over.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Primitives

/// The values after reading an environment of these entries.
private func values(_ entries: String...) -> OptionValues {
  var options = OptionValues()
  var pointers: [UnsafePointer<CChar>?] = entries.map { UnsafePointer(strdup($0)) }
  pointers.append(nil)
  pointers.withUnsafeBufferPointer { options.read(environment: $0.baseAddress!) }
  for case let pointer? in pointers { free(UnsafeMutableRawPointer(mutating: pointer)) }
  return options
}

private func same(_ one: OptionValues, _ other: OptionValues) -> Bool {
  (0..<Option.count).allSatisfy { one.values[$0] == other.values[$0] }
}

private func text(_ text: StaticString) -> String { text.description }

@Suite struct OptionsTests {
  @Test func `L74 the list: every option has a key, a line for the manual and a default it accepts`() {
    var keys: Set<String> = []
    for index in 0..<Option.count {
      let option = Option(rawValue: index)!
      #expect(keys.insert(text(option.key)).inserted)
      #expect(!text(option.summary).isEmpty)
      #expect(text(option.key).allSatisfy { $0.isLowercase || $0.isNumber || $0 == "_" })
      #expect(option.defaultValue <= option.limit)
      if option.takesWords { #expect(!text(option.words[Int(option.defaultValue)]).isEmpty) }
    }
    #expect(Option(rawValue: Option.count) == nil)
  }

  @Test func `without entries the defaults hold`() {
    #expect(same(values(), OptionValues()))
    #expect(OptionValues()[.background] == 1)
    #expect(OptionValues()[.period] == 1000)
    #expect(OptionValues()[.percpu] == 0)
  }

  @Test func `a list of keys and values`() {
    let options = values("PATH=/bin", "STAVE_OPTIONS=percpu:locked,period:250,stats:exit,hugepages:always,failure_rate:100", "HOME=/")
    #expect(options[.percpu] == 1)
    #expect(options[.period] == 250)
    #expect(options[.stats] == 1)
    #expect(options[.hugepages] == 2)
    #expect(options[.failureRate] == 100)
    #expect(options[.background] == 1)
  }

  @Test func `single variables, and the later entry wins`() {
    #expect(values("STAVE_PERCPU=locked")[.percpu] == 1)
    #expect(values("STAVE_FAILURE_RATE=7")[.failureRate] == 7)
    #expect(values("STAVE_OPTIONS=period:10", "STAVE_PERIOD=20")[.period] == 20)
    #expect(values("STAVE_PERIOD=20", "STAVE_OPTIONS=period:10")[.period] == 10)
    #expect(values("STAVE_OPTIONS=period:10,period:30")[.period] == 30)
  }

  @Test func `keys in any case; empty pieces are passed over`() {
    #expect(values("STAVE_OPTIONS=PerCPU:locked")[.percpu] == 1)
    #expect(same(values("STAVE_OPTIONS="), OptionValues()))
    #expect(values("STAVE_OPTIONS=,,verbose:1,,")[.verbose] == 1)
  }

  @Test func `what is not ours is not looked at`() {
    #expect(same(values("STAVE", "STAVE_", "STAVE_=x", "=", "", "STAVEPERCPU=locked", "XSTAVE_PERCPU=locked", "STAVE_PERCPU"), OptionValues()))
    #expect(same(values("STAVE_UNKNOWN_THING=1"), OptionValues()))
  }

  @Test func `bad values are named and change nothing`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      for bad in ["percpu:sometimes", "period:-1", "period:x", "period:", "period", "verbose:2", "period:99999999", "failure_rate:99999999999999999999", "hugepages:"] {
        precondition(same(values("STAVE_OPTIONS=\(bad)"), OptionValues()), bad)
      }
    }
    let report = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(report.contains("options: sometimes is no value for percpu; ignored"))
    #expect(report.contains("options: -1 is no value for period; ignored"))
    #expect(report.contains("2 is no value for verbose"))
    #expect(report.contains("options: an empty text is no value for hugepages; ignored"))
    #expect(report.components(separatedBy: "\n").filter { $0.contains("is no value for") }.count == 9)
  }

  @Test func `L71 an unknown key is an error that names the nearest`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      _ = values("STAVE_OPTIONS=perod:5,backgrund:1,failure-rate:3,HUGEPAGE:never,quite-something-else-of-more-than-thirty-one-bytes:1,verbose:1")
    }
    let report = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(report.contains("unknown option perod; did you mean period?"))
    #expect(report.contains("unknown option backgrund; did you mean background?"))
    #expect(report.contains("unknown option failure-rate; did you mean failure_rate?"))
    #expect(report.contains("unknown option HUGEPAGE; did you mean hugepages?"))
    #expect(report.contains("unknown option quite-something-else-of-more-than-thirty"))
    #expect(report.components(separatedBy: "\n").filter { $0.contains("unknown option") }.count == 5)
  }

  @Test func `distances between words`() {
    func distance(_ word: String, _ text: StaticString) -> Int {
      Array(word.utf8).withUnsafeBufferPointer { bytes in
        TextSlice(start: bytes.baseAddress ?? UnsafePointer(bitPattern: 8)!, count: bytes.count).distance(to: text)
      }
    }
    #expect(distance("period", "period") == 0)
    #expect(distance("PERIOD", "period") == 0)
    #expect(distance("perod", "period") == 1)
    #expect(distance("xperiod", "period") == 1)
    #expect(distance("kitten", "sitting") == 3)
    #expect(distance("", "period") == 6)
    #expect(distance("abc", "") == 3)
    #expect(distance(String(repeating: "x", count: 96), "period") == 192)
  }
}
