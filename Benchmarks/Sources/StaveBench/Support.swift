// SPDX-License-Identifier: BSD-2-Clause
//
// Small helps: messages, dates, numbers as text, running a tool for its output.

import Foundation

/// An error whose text is meant for the user.
struct Complaint: Error, CustomStringConvertible {
  var description: String
  init(_ text: String) { description = text }
}

func say(_ text: String) { FileHandle.standardError.write(Data("stave-bench: \(text)\n".utf8)) }

func day(_ date: Date = Date()) -> String {
  let parts = Calendar(identifier: .gregorian).dateComponents([.year, .month, .day], from: date)
  return padded(parts.year!, 4) + "-" + padded(parts.month!, 2) + "-" + padded(parts.day!, 2)
}

private func padded(_ value: Int, _ width: Int) -> String {
  let text = String(value)
  return String(repeating: "0", count: max(0, width - text.count)) + text
}

/// A number with `places` decimals.
func fixed(_ value: Double, _ places: Int) -> String { String(format: "%.\(places)f", value) }

/// What a tool prints, or nil if it cannot be run or fails.
func output(of words: [String], environment: [String: String]? = nil, input: URL? = nil) -> String? {
  guard let path = findTool(words[0]) else { return nil }
  let process = Process()
  process.executableURL = URL(fileURLWithPath: path)
  process.arguments = Array(words.dropFirst())
  if let environment { process.environment = environment }
  if let input { process.standardInput = try? FileHandle(forReadingFrom: input) }
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = FileHandle.nullDevice
  do { try process.run() } catch { return nil }
  let data = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  guard process.terminationStatus == 0 else { return nil }
  return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
}

/// The path of a tool, which may be one already.
func findTool(_ name: String) -> String? {
  if name.contains("/") { return FileManager.default.isExecutableFile(atPath: name) ? name : nil }
  let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
  return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
}
