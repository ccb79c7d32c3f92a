// SPDX-License-Identifier: BSD-2-Clause
//
// The two binary streams of statistics, bit for bit: a header, then for each entry its record and one record for each CPU number
// below the header's `maxCPUs`. All fields have fixed widths, little-endian, naturally aligned.
//
//   vm.zone_stats      header 16, zone 120, CPU 64 bytes
//   kern.malloc_stats  header 16, type  32, CPU 64 bytes
//
// The header does not say which of the two it begins. Their lengths do: of a given header's entries no other is as long.
// A stream that says anything else than its length allows is refused: there is nothing else by which to know it.

import Glibc

public enum StreamKind: Sendable {
  case zones, types

  /// Bytes of an entry's own record.
  var entryBytes: Int { self == .zones ? MemoryLayout<ZoneRecord>.size : MemoryLayout<TypeRecord>.size }
}

public struct StreamHeader: BitwiseCopyable, Sendable {
  public static let version: UInt32 = 1

  public var version: UInt32
  /// One more than the largest CPU number; nothing else says how many records of CPUs follow each entry (L3).
  public var maxCPUs: UInt32
  public var count: UInt32
  public var padding: UInt32

  public init(maxCPUs: Int, count: Int) {
    version = StreamHeader.version
    self.maxCPUs = UInt32(clamping: maxCPUs)
    self.count = UInt32(clamping: count)
    padding = 0
  }

  /// Bytes of the whole stream; nil if no file is as long.
  func length(_ kind: StreamKind) -> Int? {
    let entry = kind.entryBytes + Int(maxCPUs) * MemoryLayout<ZoneCPURecord>.size
    let (entries, overflow) = entry.multipliedReportingOverflow(by: Int(count))
    return overflow || entries > Int.max - 16 ? nil : 16 + entries
  }
}

/// At most 31 bytes and a zero.
public struct StreamName: BitwiseCopyable, Equatable, Sendable {
  var words: (UInt64, UInt64, UInt64, UInt64)

  public init(_ text: String) {
    words = (0, 0, 0, 0)
    withUnsafeMutableBytes(of: &words) { space in
      for (index, byte) in text.utf8.prefix(31).enumerated() { space[index] = byte }
    }
  }

  /// Up to the zero, or its 32 bytes; what is not UTF-8 is repaired, what a terminal obeys replaced.
  public var text: String { withUnsafeBytes(of: words) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.printable }

  public static func == (one: StreamName, other: StreamName) -> Bool { one.words == other.words }
}

public struct ZoneRecord: BitwiseCopyable, Sendable {
  public var name: StreamName
  /// Alignment of items less one.
  public var align: UInt32 = 0
  public var size: UInt32 = 0
  /// The distance between items.
  public var itemBytes: UInt32 = 0
  public var maxPages: UInt32 = 0
  public var limit: UInt32 = 0
  public var pages: UInt32 = 0
  public var kegFree: UInt32 = 0
  public var zoneFree: UInt32 = 0
  public var bucketSize: UInt32 = 0
  /// Bit 0: the zone shares the keg of another, which counts the keg's free items.
  public var flags: UInt32 = 0
  /// Without those of the CPUs' records.
  public var allocations: UInt64 = 0
  public var frees: UInt64 = 0
  public var failures: UInt64 = 0
  public var sleeps: UInt64 = 0
  public var crossDomain: UInt64 = 0
  public var reserved: UInt64 = 0

  public init(name: String) { self.name = StreamName(name) }

  public static let secondary: UInt32 = 1
}

public struct ZoneCPURecord: BitwiseCopyable, Sendable {
  public var allocations: UInt64 = 0
  public var frees: UInt64 = 0
  public var cached: UInt64 = 0
  public var reserved: (UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0)

  public init() {}
}

public struct TypeRecord: BitwiseCopyable, Sendable {
  public var name: StreamName

  public init(name: String) { self.name = StreamName(name) }
}

public struct TypeCPURecord: BitwiseCopyable, Sendable {
  public var allocatedBytes: UInt64 = 0
  public var freedBytes: UInt64 = 0
  public var allocations: UInt64 = 0
  public var frees: UInt64 = 0
  /// Bit i: some allocation was of a class of at most 16 << i bytes, and of more than half of that.
  public var sizes: UInt64 = 0
  public var reserved: (UInt64, UInt64, UInt64) = (0, 0, 0)

  public init() {}
}

/// An entry of a stream with its CPUs' records.
public struct StreamEntry<Record: BitwiseCopyable & Sendable, CPURecord: BitwiseCopyable & Sendable>: Sendable {
  public var record: Record
  /// By CPU number.
  public var cpus: [CPURecord]

  public init(_ record: Record, cpus: [CPURecord]) {
    self.record = record
    self.cpus = cpus
  }
}

public typealias ZoneEntry = StreamEntry<ZoneRecord, ZoneCPURecord>
public typealias TypeEntry = StreamEntry<TypeRecord, TypeCPURecord>

/// A whole stream, as values.
public enum StatisticsStream: Sendable {
  case zones([ZoneEntry])
  case types([TypeEntry])

  /// Why bytes are no stream.
  public enum Fault: Error, Equatable, Sendable {
    case version(UInt32)
    case data(String)
  }

  // MARK: - Writing

  /// The header is made last, from what is there: a stream is as long as it says (L47), each entry with `maxCPUs` records.
  public func bytes(maxCPUs: Int) -> [UInt8] {
    switch self {
    case .zones(let entries): Self.bytes(entries, maxCPUs, empty: ZoneCPURecord())
    case .types(let entries): Self.bytes(entries, maxCPUs, empty: TypeCPURecord())
    }
  }

  private static func bytes<Record, CPURecord>(_ entries: [StreamEntry<Record, CPURecord>], _ maxCPUs: Int, empty: CPURecord) -> [UInt8] {
    var result: [UInt8] = []
    func append<Value: BitwiseCopyable>(_ value: Value) { withUnsafeBytes(of: value) { result += $0 } }
    append(StreamHeader(maxCPUs: maxCPUs, count: entries.count))
    for entry in entries {
      append(entry.record)
      for cpu in 0..<maxCPUs { append(cpu < entry.cpus.count ? entry.cpus[cpu] : empty) }
    }
    return result
  }

  // MARK: - Reading

  /// Whether a file that begins so may be meant as a stream, of whatever version.
  public static func mayBegin(_ bytes: [UInt8]) -> Bool {
    guard let header = header(of: bytes) else { return false }
    return 1...0xff ~= header.version && header.padding == 0 && header.maxCPUs <= 1 << 16
  }

  /// Takes no more memory than a small multiple of the bytes. Of a stream without entries nobody can tell the kind: it has no zones.
  public init(_ bytes: [UInt8]) throws(Fault) {
    guard let header = Self.header(of: bytes) else { throw .data("it has fewer than 16 bytes") }
    guard header.version == StreamHeader.version else { throw .version(header.version) }
    if header.length(.zones) == bytes.count {
      self = .zones(Self.entries(bytes, header))
    } else if header.length(.types) == bytes.count {
      self = .types(Self.entries(bytes, header))
    } else {
      throw .data("it has \(bytes.count) bytes, and its header tells of \(header.count) entries with \(header.maxCPUs) CPUs each")
    }
  }

  /// The same of a file; false for what is no file.
  public static func mayBegin(file path: String) -> Bool {
    guard let file = try? FileBytes(path: path) else { return false }
    return (try? file.readArray(UInt8.self, at: 0, count: 16, limit: 16)).map(mayBegin) ?? false
  }

  /// All of a file, "-" for standard input; at most 256 MiB.
  public static func bytes(ofFile path: String) throws(InspectionError) -> [UInt8] {
    let limit = 256 << 20
    guard let bytes = readSmallFile(path == "-" ? "/dev/stdin" : path, limit: limit + 1) else { throw .cannotOpen(path: path, errno: errno) }
    if bytes.count > limit { throw .badStream(path: path, reason: "it has more than 256 MiB") }
    return bytes
  }

  private static func header(of bytes: [UInt8]) -> StreamHeader? {
    bytes.count < 16 ? nil : bytes.withUnsafeBytes { $0.loadUnaligned(as: StreamHeader.self) }
  }

  /// The length has been compared with the header's.
  private static func entries<Record, CPURecord>(_ bytes: [UInt8], _ header: StreamHeader) -> [StreamEntry<Record, CPURecord>] {
    bytes.withUnsafeBytes { space in
      var position = 16
      func next<Value: BitwiseCopyable>(_ type: Value.Type) -> Value {
        defer { position += MemoryLayout<Value>.size }
        return space.loadUnaligned(fromByteOffset: position, as: Value.self)
      }
      return (0..<header.count).map { _ in
        let record = next(Record.self)
        return StreamEntry(record, cpus: (0..<header.maxCPUs).map { _ in next(CPURecord.self) })
      }
    }
  }
}
