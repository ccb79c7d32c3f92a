// SPDX-License-Identifier: BSD-2-Clause
//
// Memory domains as /sys/devices/system/node tells of them: which nodes there are and which of them have memory, lists of numbers such as
// 0-1,4; and for each node the CPUs in it. CPUs in none are counted to the first.

import CPlatform
import Primitives

struct DomainReader {
  private let root: UnsafePointer<UInt8>?
  /// A line, and behind it a path.
  private let memory: UnsafeMutableRawPointer

  /// Nil where memory for it, or the list of nodes, is not to be had. `root` is put before every path.
  static func read(below root: UnsafePointer<UInt8>? = nil) -> UnsafeMutablePointer<DomainTable>? {
    let bytes = (2 * PathBuffer.capacity).roundedUp(to: pageBytes)
    guard let memory = metadataPages.allocate(bytes: bytes) else { return nil }
    defer { metadataPages.free(memory, bytes: bytes) }
    guard let table = UnsafeMutablePointer<DomainTable>.make() else { return nil }
    DomainReader(root: root, memory: memory).fill(table)
    return table
  }

  private func fill(_ table: UnsafeMutablePointer<DomainTable>) {
    var count = 0
    let isThere = forEachNumber(in: "online", node: nil) { node in
      if count < DomainTable.most && node < 1024 { table.pointee.nodes[count] = UInt16(node) }
      count += 1
    }
    guard isThere, count > 1 else { return }
    count = Swift.min(count, DomainTable.most)
    table.pointee.count = Int32(count)
    table.pointee.withMemory = 0
    let isTold = forEachNumber(in: "has_memory", node: nil) { node in
      for domain in 0..<count where Int(table.pointee.nodes[domain]) == node { table.pointee.withMemory |= 1 << UInt32(domain) }
    }
    // Nobody says so, or none has: then all have.
    if !isTold || table.pointee.withMemory == 0 { table.pointee.withMemory = UInt32(1) << UInt32(count) - 1 }
    let cpus = Int(Pages.root.pointee.cpuCount)
    for domain in 0..<count {
      _ = forEachNumber(in: "cpulist", node: Int(table.pointee.nodes[domain])) { if $0 < cpus { table.cpus[$0] = UInt8(domain) } }
    }
  }

  /// The numbers of a list; false if there is no such file.
  private func forEachNumber(in file: StaticString, node: Int?, _ body: (Int) -> Void) -> Bool {
    var path = PathBuffer(memory + PathBuffer.capacity)
    path.append(endingAtZero: root)
    path.append("/sys/devices/system/node/")
    if let node {
      path.append("node")
      path.append(number: node)
      path.append("/")
    }
    path.append(file)
    guard path.isWhole else { return false }
    var lines = LineReader(path.bytes, buffer: memory, capacity: PathBuffer.capacity)
    defer { lines.close() }
    guard var line = lines.next() else { return lines.isOpen }
    while line.count > 0 {
      var piece = line.cut(at: UInt8(ascii: ","))
      guard let first = piece.cut(at: UInt8(ascii: "-")).number else { continue }
      let last = piece.number ?? first
      guard first <= last, last < 65536 else { continue }
      for number in first...last { body(Int(number)) }
    }
    return true
  }
}
