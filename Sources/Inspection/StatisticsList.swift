// SPDX-License-Identifier: BSD-2-Clause
//
// A list of statistics in the manner of libmemstat(3): filled from a process, a core file or a saved stream, and filled again, when
// entries that are still there keep their place and what the caller noted in them.
//
//   let list = StatisticsList()
//   try list.fill(from: "1234")                             // a process; or the path of a core file or of a saved stream
//   list.find(.zone, "malloc-64")?.count
//   for type in list.entries where type.allocator == .malloc {
//     print(type.label, type.bytes, type.bytes &- type.numbers[0], type.cpu(3).allocations)
//     type.numbers[0] = type.bytes                          // still there when the list has been filled again
//   }
//
// libstavestat.so (StaveStat) gives C the same.
//
// Entries are known by allocator, name and instance: zones or types of one name stay apart (T6). A stream has no instances, so
// there the order of equal names is what tells them apart, and `sharesName` says that it had to (T14).

/// Whose statistics they are; the numbers are libmemstat's.
public enum StatisticsAllocator: UInt32, Sendable {
  case unknown = 0, malloc = 1, zone = 2, any = 255
}

/// What went wrong, in libmemstat's words and numbers, with the reason in `message`.
public struct StatisticsError: Error, Equatable, Sendable {
  public enum Code: Int32, Sendable {
    case undefined = 0, noMemory = 1, version = 2, permission = 3, data = 5, process = 6, noSymbol = 7, shortRead = 8
  }

  public let code: Code
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  init(_ error: InspectionError) {
    let code: Code =
      switch error {
      case .versionMismatch, .layoutMismatch, .unknownStream: .version
      case .permissionDenied: .permission
      case .noStave: .noSymbol
      case .shortRead, .notInCore, .truncatedCore: .shortRead
      case .damaged, .badImage, .badStream: .data
      case .noSuchProcess, .noProcessNamed, .noMemory, .cannotOpen, .notACore, .usage: .process
      default: .undefined
      }
    self.init(code, error.message)
  }
}

/// Not for several threads at once.
public final class StatisticsList {
  /// Zones, then malloc types, each in the order in which the process made them; the first type is `malloc`, what no other has.
  public private(set) var entries: [StatisticsEntry] = []
  /// Of the last call of `fill`; nil if it went well.
  public private(set) var error: StatisticsError?

  public init() {}

  public func find(_ allocator: StatisticsAllocator, _ name: String, instance: Int = 0) -> StatisticsEntry? {
    entries.first { (allocator == .any || $0.allocator == allocator) && $0.name == name && $0.instance == instance }
  }

  /// From a process or a core file, one look. With `allocator`, entries of that kind only; others stay as they are.
  public func fill(from target: any TargetMemory, _ allocator: StatisticsAllocator = .any) throws(StatisticsError) {
    let snapshot: Snapshot
    do throws(InspectionError) {
      snapshot = try ProcessReader(target).look()
      try snapshot.checkRecords()
    } catch { throw fail(StatisticsError(error)) }
    fill(from: snapshot, allocator)
  }

  public func fill(from snapshot: Snapshot, _ allocator: StatisticsAllocator = .any) {
    if allocator == .zone || allocator == .any {
      update(
        .zone,
        snapshot.zones.map { zone in
          let figures = StatisticsFigures(ZoneEntry(zone, pageBytes: snapshot.pageBytes, maxCPUs: snapshot.cpuLimit))
          return (name: zone.fullName, instance: zone.instance, sharesName: false, figures: figures)
        })
    }
    if allocator == .malloc || allocator == .any {
      update(
        .malloc,
        snapshot.types.map { type in
          var figures = StatisticsFigures(TypeEntry(type, maxCPUs: snapshot.cpuLimit))
          figures.failures = UInt64(clamping: type.failures)
          return (name: type.fullName, instance: type.instance, sharesName: false, figures: figures)
        })
    }
  }

  /// The same of a target that is yet to be opened, whose error is the list's.
  public func fill(
    opening open: () throws(InspectionError) -> any TargetMemory, _ allocator: StatisticsAllocator = .any
  ) throws(StatisticsError) {
    let target: any TargetMemory
    do throws(InspectionError) { target = try open() } catch { throw fail(StatisticsError(error)) }
    try fill(from: target, allocator)
  }

  /// From a process by its number, or else a core file or a saved stream by its path.
  public func fill(from place: String) throws(StatisticsError) {
    let isNumber = !place.isEmpty && place.utf8.allSatisfy { 48...57 ~= $0 }
    if !isNumber && (place == "-" || StatisticsStream.mayBegin(file: place)) { return try fill(fromFile: place) }
    try fill { () throws(InspectionError) in try openTarget(place) }
  }

  /// From a saved stream, "-" for standard input.
  public func fill(fromFile path: String) throws(StatisticsError) {
    let bytes: [UInt8]
    do throws(InspectionError) { bytes = try StatisticsStream.bytes(ofFile: path) } catch { throw fail(StatisticsError(error)) }
    try fill(fromStream: bytes)
  }

  /// From the bytes of a stream of either kind. Only entries of that kind are touched.
  public func fill(fromStream bytes: [UInt8]) throws(StatisticsError) {
    let stream: StatisticsStream
    do throws(StatisticsStream.Fault) { stream = try StatisticsStream(bytes) } catch {
      switch error {
      case .version(let found): throw fail(StatisticsError(.version, "a stream of version \(found), where version \(StreamHeader.version) is understood"))
      case .data(let reason): throw fail(StatisticsError(.data, "no stream that can be read: \(reason)"))
      }
    }
    fill(from: stream)
  }

  public func fill(from stream: StatisticsStream) {
    switch stream {
    case .zones(let entries): update(.zone, Self.numbered(entries.map { ($0.record.name.text, StatisticsFigures($0)) }))
    case .types(let entries): update(.malloc, Self.numbered(entries.map { ($0.record.name.text, StatisticsFigures($0)) }))
    }
  }

  /// On an error the list is empty: old figures are not to be taken for new ones.
  public func fail(_ error: StatisticsError) -> StatisticsError {
    entries = []
    self.error = error
    return error
  }

  private typealias Found = (name: String, instance: Int, sharesName: Bool, figures: StatisticsFigures)

  /// Instances by the order of equal names.
  private static func numbered(_ all: [(name: String, figures: StatisticsFigures)]) -> [Found] {
    var counts: [String: Int] = [:]
    for one in all { counts[one.name, default: 0] += 1 }
    var seen: [String: Int] = [:]
    return all.map { one in
      defer { seen[one.name, default: 0] += 1 }
      return (one.name, seen[one.name, default: 0], counts[one.name]! > 1, one.figures)
    }
  }

  /// Entries that are no more go; those that stay are the same objects.
  private func update(_ allocator: StatisticsAllocator, _ found: [Found]) {
    struct Key: Hashable {
      var name: String
      var instance: Int
    }
    var known: [Key: StatisticsEntry] = [:]
    for entry in entries where entry.allocator == allocator { known[Key(name: entry.name, instance: entry.instance)] = entry }
    let updated = found.map { one in
      let entry = known.removeValue(forKey: Key(name: one.name, instance: one.instance))
        ?? StatisticsEntry(allocator, one.name, instance: one.instance)
      entry.update(one.figures, sharesName: one.sharesName)
      return entry
    }
    let others = entries.filter { $0.allocator != allocator }
    entries = allocator == .zone ? updated + others : others + updated
    error = nil
  }
}
