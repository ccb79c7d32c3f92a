// SPDX-License-Identifier: BSD-2-Clause
//
// One process as /proc/PID/stat and /proc/PID/cmdline tell it: readable by everybody, without any right over the process.

import Glibc

public struct ProcessEntry: Equatable, Sendable {
  public var process: Int32
  public var parent: Int32
  /// The command's name, at most 15 bytes.
  public var name: String
  /// R, S, D, T (stopped), t (traced), Z (zombie) and so on, as in proc(5).
  public var state: Character
  /// When it started, in clock ticks since the machine did. With the PID it identifies a process for good.
  public var startTicks: UInt64
  /// Resident memory in bytes, as the scheduler last saw it; good for "which is the largest".
  public var resident: UInt64

  /// Throws `noSuchProcess`; `permissionDenied` if /proc hides the processes of others.
  public init(process: Int32) throws(InspectionError) {
    guard process > 0 else { throw .noSuchProcess(process) }
    guard let text = readSmallFile("/proc/\(process)/stat"), let entry = ProcessEntry(parsing: text) else {
      if kill(process, 0) == 0 || errno == EPERM {
        throw .permissionDenied(process: process, yamaScope: LiveProcess.yamaScope)
      }
      throw .noSuchProcess(process)
    }
    self = entry
  }

  /// The name may hold blanks and parentheses, so the fields are counted from its last closing parenthesis.
  init?(parsing text: [UInt8]) {
    guard let open = text.firstIndex(of: UInt8(ascii: "(")), let close = text.lastIndex(of: UInt8(ascii: ")")), open < close
    else { return nil }
    var head = FieldScanner(Array(text[..<open]))
    guard let process = head.decimal().flatMap({ Int32(exactly: $0) }) else { return nil }
    var scanner = FieldScanner(Array(text[(close + 1)...]))
    let state = scanner.field()
    guard state.count == 1, let parent = scanner.decimal().flatMap({ Int32(exactly: $0) }) else { return nil }
    // The parent was field 4 of proc(5); the start is 22, resident pages are 24.
    for _ in 5..<22 { _ = scanner.field() }
    guard let start = scanner.decimal() else { return nil }
    _ = scanner.field()
    let pages = scanner.decimal() ?? 0
    self.process = process
    self.parent = parent
    name = String(decoding: text[(open + 1)..<close], as: UTF8.self)
    self.state = Character(Unicode.Scalar(state[state.startIndex]))
    startTicks = start
    resident = pages &* UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
  }

  /// Its arguments, read now; empty for a kernel thread or a zombie.
  public func arguments() -> [String] {
    guard let text = readSmallFile("/proc/\(process)/cmdline", limit: 1 << 20) else { return [] }
    var parts = text.split(separator: 0, omittingEmptySubsequences: false)
    if parts.last?.isEmpty == true { parts.removeLast() }
    return parts.map { String(decoding: $0, as: UTF8.self) }
  }

  /// Arguments in one line, or the name in brackets as ps shows it.
  public func command() -> String {
    let arguments = arguments()
    return arguments.isEmpty ? "[\(name)]" : arguments.joined(separator: " ")
  }

  /// Seconds since it started; nil if /proc/uptime cannot be read.
  public func secondsSinceStart() -> Double? {
    guard let text = readSmallFile("/proc/uptime") else { return nil }
    var scanner = FieldScanner(text)
    guard let seconds = scanner.decimal(), scanner.skip(UInt8(ascii: ".")), let hundredths = scanner.decimal() else { return nil }
    let ticksPerSecond = max(1, sysconf(Int32(_SC_CLK_TCK)))
    return max(0, Double(seconds) + Double(hundredths) / 100 - Double(startTicks) / Double(ticksPerSecond))
  }
}
