// SPDX-License-Identifier: BSD-2-Clause
//
// One line of /proc/PID/maps, and the reading of all of them. Core files give the same values from their own tables.

/// A range of the target's address space, [start, end).
public struct Mapping: Equatable, Sendable {
  public var start: UInt
  public var end: UInt
  /// In the file, in bytes; 0 for memory without a file.
  public var offset: UInt64
  public var isReadable: Bool
  public var isWritable: Bool
  public var isExecutable: Bool
  public var isShared: Bool
  /// 0 where there is no file. In a core file it is always 0.
  public var inode: UInt64
  /// A file's path, a name in brackets such as "[heap]" or "[anon:stave:malloc-64]", or empty.
  public var path: String

  public init(
    start: UInt, end: UInt, offset: UInt64 = 0, isReadable: Bool = true, isWritable: Bool = false, isExecutable: Bool = false,
    isShared: Bool = false, inode: UInt64 = 0, path: String = ""
  ) {
    self.start = start
    self.end = end
    self.offset = offset
    self.isReadable = isReadable
    self.isWritable = isWritable
    self.isExecutable = isExecutable
    self.isShared = isShared
    self.inode = inode
    self.path = path
  }

  /// In bytes.
  public var length: UInt { end &- start }
  /// Backed by a file that has a name, and that is no device (whose memory may not be plain memory).
  public var isFile: Bool { path.utf8.first == UInt8(ascii: "/") && !(path.hasPrefix("/dev/") && !path.hasPrefix("/dev/shm/")) }

  public func contains(_ address: UInt) -> Bool { start <= address && address < end }

  /// Parses the content of /proc/PID/maps. Lines that make no sense are left out. The kernel writes a newline in a path as
  /// "\012", which is undone here.
  public static func parse(maps text: [UInt8]) -> [Mapping] {
    var mappings: [Mapping] = []
    var scanner = FieldScanner(text)
    while !scanner.isAtEnd {
      if let mapping = parseLine(&scanner) { mappings.append(mapping) }
      scanner.skipLine()
    }
    return mappings
  }

  // 7f12a000-7f12c000 r-xp 00001000 fe:00 1234      /usr/lib/libc.so.6
  private static func parseLine(_ scanner: inout FieldScanner) -> Mapping? {
    guard let start = scanner.hexadecimal(), scanner.skip(UInt8(ascii: "-")), let end = scanner.hexadecimal(), start < end
    else { return nil }
    let flags = scanner.field()
    guard flags.count == 4, let offset = scanner.hexadecimal() else { return nil }
    _ = scanner.field()  // the device
    guard let inode = scanner.decimal() else { return nil }
    return Mapping(
      start: UInt(start), end: UInt(end), offset: offset,
      isReadable: flags[flags.startIndex] == UInt8(ascii: "r"),
      isWritable: flags[flags.startIndex + 1] == UInt8(ascii: "w"),
      isExecutable: flags[flags.startIndex + 2] == UInt8(ascii: "x"),
      isShared: flags[flags.startIndex + 3] == UInt8(ascii: "s"),
      inode: inode, path: unescaped(scanner.restOfLine()))
  }

  private static func unescaped(_ bytes: ArraySlice<UInt8>) -> String {
    guard bytes.contains(UInt8(ascii: "\\")) else { return String(decoding: bytes, as: UTF8.self) }
    var result: [UInt8] = []
    var index = bytes.startIndex
    while index < bytes.endIndex {
      if bytes[index...].starts(with: [92, 48, 49, 50]) {  // \012
        result.append(10)
        index += 4
      } else {
        result.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}

extension [Mapping] {
  /// The mapping that contains `address`. The array must be in order of addresses. O(log n).
  public func mapping(containing address: UInt) -> Mapping? {
    var low = startIndex
    var high = endIndex
    while low < high {
      let middle = low + (high - low) / 2
      if self[middle].end <= address { low = middle + 1 } else { high = middle }
    }
    return low < endIndex && self[low].contains(address) ? self[low] : nil
  }
}
