// SPDX-License-Identifier: BSD-2-Clause
//
// How much memory the control groups of this process leave it. /proc/self/cgroup says in which it is, /proc/self/mountinfo where they
// are to be seen; the least limit on the way from there up holds, for groups lie in one another. Version 2 (memory.max, memory.high)
// and version 1 (memory.limit_in_bytes), also side by side, as systems between the two have them.

import CPlatform
import Primitives

public enum ContainerLimit {
  /// Bytes; nil if there is no limit, or none can be seen. Opens some ten files one after the other: a tenth of a millisecond.
  /// `root` is put before every path.
  public static func read(below root: UnsafePointer<UInt8>? = nil) -> UInt64? {
    let bytes = 3 * LimitReader.pieceBytes
    guard let memory = metadataPages.allocate(bytes: bytes.roundedUp(to: pageBytes)) else { return nil }
    defer { metadataPages.free(memory, bytes: bytes.roundedUp(to: pageBytes)) }
    let reader = LimitReader(root: root, memory: memory)
    let old = reader.least(isUnified: false), new = reader.least(isUnified: true)
    let least = Swift.min(old, new)
    return least == .max ? nil : least
  }
}

private struct LimitReader {
  static var pieceBytes: Int { PathBuffer.capacity }
  let root: UnsafePointer<UInt8>?
  /// Three pieces: a line, a path, and the group's name.
  let memory: UnsafeMutableRawPointer

  private func path() -> PathBuffer {
    var path = PathBuffer(memory + Self.pieceBytes)
    path.append(endingAtZero: root)
    return path
  }

  private func open(_ path: PathBuffer) -> LineReader { LineReader(path.bytes, buffer: memory, capacity: Self.pieceBytes) }

  /// The least limit of a hierarchy; the largest number for none.
  func least(isUnified: Bool) -> UInt64 {
    guard let group = group(isUnified) else { return .max }
    var file = path()
    file.append("/proc/self/mountinfo")
    var lines = open(file)
    defer { lines.close() }
    while var line = lines.next() {
      // 36 35 98:0 /root /where options, then what is optional, " - ", type, source, options
      for _ in 0..<3 { _ = line.cut(at: 32) }
      let top = line.cut(at: 32), place = line.cut(at: 32)
      guard isHierarchy(line, isUnified) else { continue }
      var directory = path()
      directory.append(place)
      let bottom = directory.count
      // What is mounted may itself be a group, as in a container; else names agree from the root on.
      if top.count <= 1 { directory.append(group.text) } else if let rest = remainder(group.text, below: top) { directory.append(rest) }
      return directory.isWhole ? climb(&directory, to: bottom, isUnified) : .max
    }
    return .max
  }

  /// Of the process in a hierarchy: its name, in the third piece.
  private func group(_ isUnified: Bool) -> PathBuffer? {
    var file = path()
    file.append("/proc/self/cgroup")
    var lines = open(file)
    defer { lines.close() }
    while var line = lines.next() {
      // 4:memory:/name, or 0::/name
      let number = line.cut(at: 58)
      var controllers = line.cut(at: 58)
      var isIt = isUnified && number.equals("0") && controllers.count == 0
      while !isUnified && controllers.count > 0 { if controllers.cut(at: 44).equals("memory") { isIt = true } }
      guard isIt else { continue }
      var name = PathBuffer(memory + 2 * Self.pieceBytes)
      name.append(line)
      // Outside of what this process may see: the mount shows its root.
      if line.following("/..") != nil { name.shorten(to: 0) }
      if name.count == 1 { name.shorten(to: 0) }
      return name.isWhole ? name : nil
    }
    return nil
  }

  /// Whether the rest of a line of mountinfo is of such a hierarchy.
  private func isHierarchy(_ rest: TextSlice, _ isUnified: Bool) -> Bool {
    var rest = rest
    while rest.count > 0 && !rest.cut(at: 32).equals("-") {}
    let kind = rest.cut(at: 32)
    if isUnified { return kind.equals("cgroup2") }
    _ = rest.cut(at: 32)
    guard kind.equals("cgroup") else { return false }
    while rest.count > 0 { if rest.cut(at: 44).equals("memory") { return true } }
    return false
  }

  /// What a group's name has behind that of the mount; nil if it does not begin so.
  private func remainder(_ name: TextSlice, below top: TextSlice) -> TextSlice? {
    guard name.count >= top.count else { return nil }
    for index in 0..<top.count where name.start[index] != top.start[index] { return nil }
    let rest = TextSlice(start: name.start + top.count, count: name.count - top.count)
    return rest.count == 0 || rest.start[0] == UInt8(ascii: "/") ? rest : nil
  }

  private func climb(_ directory: inout PathBuffer, to bottom: Int, _ isUnified: Bool) -> UInt64 {
    var least = UInt64.max
    while true {
      if isUnified {
        least = Swift.min(least, Swift.min(limit(&directory, "/memory.max"), limit(&directory, "/memory.high")))
      } else {
        least = Swift.min(least, limit(&directory, "/memory.limit_in_bytes"))
      }
      guard directory.count > bottom else { return least }
      var length = directory.count - 1
      while length > bottom && directory.bytes[length] != UInt8(ascii: "/") { length -= 1 }
      directory.shorten(to: length)
    }
  }

  /// "max", and version 1's largest number, which has nineteen digits, are no numbers here.
  private func limit(_ directory: inout PathBuffer, _ name: StaticString) -> UInt64 {
    let length = directory.count
    directory.append(name)
    var lines = open(directory)
    let value = directory.isWhole ? lines.next()?.number : nil
    lines.close()
    directory.shorten(to: length)
    return value.map { UInt64($0) } ?? .max
  }
}
