// SPDX-License-Identifier: BSD-2-Clause
//
// The file with symbols that a stripped program or library names itself, in its section .gnu_debuglink: a file's name without a folder,
// zeros up to a multiple of 4, and the CRC-32 of all that file. It lies beside the program, in .debug there, or in the program's folder
// below a folder for such files, as /usr/lib/debug/usr/bin (gdb(1), "Debugging Information in Separate Files").

struct DebugLink {
  var name: String
  var checksum: UInt32

  /// Nil where the file has none, or one that says nothing.
  init?(_ file: ElfFile) {
    guard let sections = try? file.sections(), Int(file.header.sectionNames) < sections.count,
      let names = try? file.bytes(of: sections[Int(file.header.sectionNames)])
    else { return nil }
    let wanted = Array(".gnu_debuglink".utf8) + [0]
    guard let section = sections.first(where: { names.dropFirst(Int($0.name)).starts(with: wanted) }), section.bytes <= 4096,
      let content = try? file.bytes(of: section), let end = content.firstIndex(of: 0), end > 0
    else { return nil }
    let place = (end + 4) / 4 * 4
    guard place + 4 <= content.count else { return nil }
    name = String(decoding: content[..<end], as: UTF8.self)
    checksum = content[place..<(place + 4)].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    // It names a file and no way to one.
    guard !name.contains("/"), name != ".", name != ".." else { return nil }
  }

  /// Where it may lie, of a program in this folder. `seen`: the folder as the reader sees it, if that is another.
  func paths(folder: String, seen: String, debugFolders: [String]) -> [String] {
    [seen, seen + "/.debug"].map { "\($0)/\(name)" } + debugFolders.map { "\($0)\(folder)/\(name)" }
  }

  /// Whether it is that file: by its sum, for which all of it is read.
  func isMeant(_ file: FileBytes) -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { buffer.deallocate() }
    var sum = UInt32.max, position: UInt64 = 0
    while position < file.size {
      let count = file.readPrefix(into: buffer, at: UInt(position))
      guard count > 0 else { return false }
      for byte in buffer[..<count] { sum = Self.table[Int(UInt8(truncatingIfNeeded: sum) ^ byte)] ^ sum >> 8 }
      position += UInt64(count)
    }
    return ~sum == checksum
  }

  /// Of each byte the remainder, by the polynomial of IEEE 802.3, lowest bit first.
  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { sum, _ in sum & 1 == 1 ? 0xedb8_8320 ^ sum >> 1 : sum >> 1 }
  }
}
