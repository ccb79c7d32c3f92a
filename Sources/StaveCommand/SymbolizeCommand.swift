// SPDX-License-Identifier: BSD-2-Clause
//
// `stave symbolize`: the names of functions in reports. Lines with a frame, "#0 0x55d0c0de1188 /usr/bin/program+0x1188", get the
// function's; all others stay as they are, so a whole log can go through.

import ArgumentParser
import Glibc
import Inspection

struct SymbolizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "symbolize", abstract: "Name the functions in a report.",
    discussion: """
      Names come from the symbols of programs and libraries where they lie, as the process sees them while it is there, or \
      from files with symbols that are kept apart, by build id or as the program's own link names them (.gnu_debuglink). A file that is not the one the process had is not believed. \
      Names of C++, Swift and Rust are as the language writes them.
      """)

  @Argument(help: ArgumentHelp("The report, or the log that has it; standard input if none is given.", valueName: "file"), completion: .file())
  var file: String?

  @Option(help: ArgumentHelp("Where files with symbols lie, as .build-id/ab/cdef.debug or usr/bin/program.debug; may be given again.", valueName: "dir"), completion: .directory)
  var debug: [String] = []

  func run() throws {
    if let file, file != "-" {
      let descriptor = open(file, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw InspectionError.cannotOpen(path: file, errno: errno) }
      dup2(descriptor, 0)
      close(descriptor)
    }
    var lines = ReportLines(Symbolizer(debugFolders: debug + ["/usr/lib/debug"]))
    // Nothing more and what cannot be read look alike, but for the reason.
    while true {
      errno = 0
      guard let line = readLine() else { break }
      emit(lines.named(line))
    }
    if errno != 0 { throw InspectionError.cannotRead(path: file == "-" ? "standard input" : file ?? "standard input", errno: errno) }
  }
}

/// Lines of one log, one after another.
struct ReportLines {
  private let symbolizer: Symbolizer
  /// What the present report has said.
  private var process: Int32?
  private var buildIDs: [String: String] = [:]

  init(_ symbolizer: Symbolizer) { self.symbolizer = symbolizer }

  /// The line, with the function's name if it is a frame's.
  mutating func named(_ line: String) -> String {
    noteProcess(line)
    guard let frame = FrameLine(line) else { return line }
    if let id = frame.buildID { buildIDs[frame.path] = id }
    guard let found = symbolizer.function(at: frame.place, in: frame.path, buildID: buildIDs[frame.path], process: process) else { return line }
    return "\(frame.head)\(demangled(found.name))+0x\(String(found.offset, radix: 16)) (\(frame.path)+0x\(String(frame.place, radix: 16)))"
  }

  /// A report begins with "stave[PID/TID]: ".
  private mutating func noteProcess(_ line: String) {
    guard let start = line.utf8.firstRange(of: "stave[".utf8)?.upperBound else { return }
    let rest = line[start...]
    guard let slash = rest.firstIndex(of: "/"), let number = Int32(rest[..<slash]) else { return }
    (process, buildIDs) = (number, [:])
  }
}

/// A frame of a stack, as a report has it.
struct FrameLine: Equatable {
  /// With the address and the blank behind it.
  var head: String
  var path: String
  var place: UInt64
  var buildID: String?

  /// Nil for any other line.
  init?(_ line: String) {
    // "#", a number, " 0x", an address, a blank; whatever stands in front is the log's.
    guard let mark = line.utf8.firstRange(of: "#".utf8)?.lowerBound else { return nil }
    let words = line[mark...].split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count == 3, Int(words[0].dropFirst()) != nil, words[1].hasPrefix("0x"), UInt64(words[1].dropFirst(2), radix: 16) != nil else { return nil }
    head = String(line[..<words[2].startIndex])
    var rest = words[2]
    if rest.hasSuffix(")"), let open = rest.utf8.firstRange(of: " (build id ".utf8) {
      buildID = String(rest[open.upperBound...].dropLast())
      rest = rest[..<open.lowerBound]
    }
    guard let plus = rest.lastIndex(of: "+"), rest[plus...].hasPrefix("+0x"), let place = UInt64(rest[plus...].dropFirst(3), radix: 16) else { return nil }
    path = String(rest[..<plus])
    self.place = place
  }
}
