// SPDX-License-Identifier: BSD-2-Clause
//
// What a session of measurements consists of; written as JSON, and read back to make tables and pictures.

/// One run of one workload under one allocator.
struct Sample: Codable {
  var round: Int
  var wall: Double  // seconds
  var cpu: Double  // seconds, user and system, with all descendants
  var peakKiB: Int  // of the largest process
  var calm: Bool  // the machine was idle before the run and did little else during it
  var figures: [String: UInt64]  // what the workload printed
}

/// Everything measured of one workload. Allocators are known by name.
struct Measurement: Codable {
  var name: String
  var half: String  // "tune" or "judge"
  var samples: [String: [Sample]] = [:]
  var failures: [String: String] = [:]

  var group: Group { Group(rawValue: String(name.prefix { $0 != "/" })) ?? .single }
  var title: String { String(name.drop { $0 != "/" }.dropFirst()) }
}

enum Group: String, Codable, CaseIterable {
  case single, threaded, program, memory, scale, counting, callers
  case pair, walk, pool, lookup, packet, relay

  var heading: String {
    switch self {
    case .single: "Single-threaded"
    case .threaded: "Threaded"
    case .program: "Real programs"
    case .memory: "Memory at rest"
    case .scale: "Cost of scale"
    case .counting: "Cost of counting"
    case .callers: "Cost of counting for callers"
    case .pair: "Allocate and free at once"
    case .walk: "Cache-line spreading"
    case .pool: "Pools, by the number of pages"
    case .lookup: "Lookups without a lock"
    case .packet: "Operations on packets"
    case .relay: "The relay"
    }
  }
  /// Compared by time and peak memory; the other groups report figures of their own.
  var isTimed: Bool { self == .single || self == .threaded || self == .program }

  /// Of Stave's malloc types, which no peer has.
  var isOfTypes: Bool { self == .counting || self == .callers }
  /// Of several ways to do something instead of allocators: see Ways.
  var isOfZones: Bool { [.pair, .walk, .pool, .lookup, .packet, .relay].contains(self) }
  /// Threads that are to have the CPUs for themselves, and differences of a few nanoseconds.
  var needsCalm: Bool { self == .threaded || isOfTypes }

  /// The session's first rounds, so many, include this group. Memory at rest hardly varies; a cost is the least of its samples.
  var mostRounds: Int {
    switch self {
    case .scale: 3
    case .memory: 1
    default: .max
    }
  }
}

struct AllocatorRecord: Codable {
  var name: String
  var version: String
  var file: String

  var isPeer: Bool { !name.hasPrefix("stave") }
}

struct MachineRecord: Codable {
  var kernel: String
  var processor: String
  var cpus: Int
  var memoryMiB: Int

  /// Without what a distributor puts behind the number.
  var kernelVersion: Substring { kernel.prefix { $0 != "-" } }
}

struct Session: Codable {
  var date: String
  var rounds: Int
  var scale: Double
  var machine: MachineRecord
  var allocators: [AllocatorRecord]
  var measurements: [Measurement] = []
  /// Of the CPUs' time, what went to others meanwhile; only sessions of zones have it.
  var othersShare: Double?
}
