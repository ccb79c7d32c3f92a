// SPDX-License-Identifier: BSD-2-Clause
//
// Memory domains as /sys/devices/system/node tells of them: which nodes there are and which of them have memory, lists of numbers such as
// 0-1,4; and for each node the CPUs in it. CPUs in none are counted to the first, or, where there are more nodes than sixteen, to the last
// of these, as those of the nodes beyond are.

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

  /// What a list tells: of all domains, or of one the CPUs.
  private enum Fact {
    case nodes, memory, cpus
  }

  private func fill(_ table: UnsafeMutablePointer<DomainTable>) {
    table.pointee.count = 0
    let isThere = read(.nodes, into: table)
    guard isThere, table.pointee.count > 1 else {
      table.pointee.count = 1
      table.pointee.nodes[0] = 0
      return
    }
    table.pointee.withMemory = 0
    let isTold = read(.memory, into: table), count = Int(table.pointee.count)
    // Nobody says so, or none has: then all have.
    if !isTold || table.pointee.withMemory == 0 { table.pointee.withMemory = UInt32(1) << UInt32(count) - 1 }
    for domain in 0..<count { _ = read(.cpus, of: domain, into: table) }
  }

  /// Goes through the numbers of a list; false if there is no such file.
  private func read(_ fact: Fact, of domain: Int = 0, into table: UnsafeMutablePointer<DomainTable>) -> Bool {
    var path = PathBuffer(memory + PathBuffer.capacity)
    path.append(endingAtZero: root)
    path.append("/sys/devices/system/node/")
    switch fact {
    case .nodes: path.append("online")
    case .memory: path.append("has_memory")
    case .cpus:
      path.append("node")
      path.append(number: Int(table.pointee.nodes[domain]))
      path.append("/cpulist")
    }
    guard path.isWhole else { return false }
    var lines = LineReader(path.bytes, buffer: memory, capacity: PathBuffer.capacity)
    defer { lines.close() }
    guard var line = lines.next() else { return lines.isOpen }
    while line.count > 0 {
      var piece = line.cut(at: UInt8(ascii: ","))
      guard let first = piece.cut(at: UInt8(ascii: "-")).number else { continue }
      let last = piece.number ?? first
      guard first <= last, last < 65536 else { continue }
      for number in Int(first)...Int(last) { note(number, fact, domain, table) }
    }
    return true
  }

  private func note(_ number: Int, _ fact: Fact, _ domain: Int, _ table: UnsafeMutablePointer<DomainTable>) {
    let count = Int(table.pointee.count)
    switch fact {
    case .nodes:
      guard count < DomainTable.most, number < 1024 else {
        for cpu in 0..<Int(Pages.root.pointee.cpuCount) { table.cpus[cpu] = UInt8(Swift.max(0, count - 1)) }
        return
      }
      table.pointee.nodes[count] = UInt16(number)
      table.pointee.count += 1
    case .memory:
      for domain in 0..<count where Int(table.pointee.nodes[domain]) == number { table.pointee.withMemory |= 1 << UInt32(domain) }
    case .cpus:
      if number < Int(Pages.root.pointee.cpuCount) { table.cpus[number] = UInt8(domain) }
    }
  }
}
