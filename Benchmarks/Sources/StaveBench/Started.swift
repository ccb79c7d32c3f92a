// SPDX-License-Identifier: BSD-2-Clause
//
// A program that runs beside the runner, until it is ended: what it prints, and what /proc says of it.

import Foundation

final class Started {
  let process = Process()
  private let pipe = Pipe()
  private var text = ""

  init(_ words: [String], environment: [String: String]? = nil) throws {
    process.executableURL = URL(fileURLWithPath: words[0])
    process.arguments = Array(words.dropFirst())
    if let environment { process.environment = environment }
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
  }

  func end() {
    process.terminate()
    process.waitUntilExit()
  }

  /// Waits, ten seconds at most, until it has printed `word`.
  func prints(_ word: String) -> Bool {
    let end = Date() + 10, file = pipe.fileHandleForReading.fileDescriptor
    while Date() < end && !text.contains(word) {
      var ready = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
      guard poll(&ready, 1, 100) > 0 else { continue }
      let data = pipe.fileHandleForReading.availableData
      if data.isEmpty { return false }
      text += String(decoding: data, as: UTF8.self)
    }
    return text.contains(word)
  }

  private func read(_ name: String) -> String {
    (try? String(contentsOfFile: "/proc/\(process.processIdentifier)/\(name)", encoding: .utf8)) ?? ""
  }

  /// CPU time of its first thread.
  var cpuSeconds: Double? { read("schedstat").split(separator: " ").first.flatMap { Double($0) }.map { $0 / 1e9 } }

  var peakKiB: Int? {
    read("status").split(separator: "\n").first { $0.hasPrefix("VmHWM") }?.split(separator: " ").compactMap { Int($0) }.first
  }
}

/// Ports of the loopback that nobody has now.
func freePorts(_ count: Int) throws -> [UInt16] {
  let sockets = (0..<count).map { _ in socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) }
  defer { sockets.forEach { _ = close($0) } }
  return try sockets.map { file in
    var address = sockaddr_in(), length = socklen_t(MemoryLayout<sockaddr_in>.size)
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let failed = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(file, $0, length) != 0 || getsockname(file, $0, &length) != 0 }
    }
    if failed { throw Complaint("no free port") }
    return UInt16(bigEndian: address.sin_port)
  }
}
