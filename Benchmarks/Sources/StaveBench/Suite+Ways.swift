// SPDX-License-Identifier: BSD-2-Clause
//
// Runs cases: rounds outside, ways inside, each round beginning with another, as Suite does with allocators.

import Foundation

extension Suite {
  func measure(_ all: [Case]) throws -> Session {
    let pattern = try options.only.map { try Regex($0) }, rounds = options.roundsOfZones
    let cases = all.filter { one in pattern.map { one.name.firstMatch(of: $0) != nil } ?? true }
    guard !cases.isEmpty else { throw Complaint("nothing to measure") }
    var records: [AllocatorRecord] = []
    for way in cases.flatMap(\.ways) where !records.contains(where: { $0.name == way.name }) {
      records.append(AllocatorRecord(name: way.name, version: way.version, file: ""))
    }
    var session = Session(date: day(), rounds: rounds, scale: options.quick ? 0.5 : 1, machine: Machine.record(), allocators: records)
    session.measurements = cases.map { Measurement(name: $0.name, half: "judge") }
    let before = Machine.cpuSeconds(), ownBefore = Suite.cpuSecondsOfChildren()
    for round in 0..<rounds {
      for (index, one) in cases.enumerated() {
        progress("round \(round + 1)/\(rounds)  \(index + 1)/\(cases.count)  \(one.name)")
        for turn in one.ways.indices {
          let way = one.ways[(turn + round + index) % one.ways.count]
          guard session.measurements[index].failures[way.name] == nil else { continue }
          session.measurements[index].add(try way.run(round), way.name)
        }
      }
    }
    progress("")
    let after = Machine.cpuSeconds(), own = Suite.cpuSecondsOfChildren() - ownBefore
    session.othersShare = max(0, after.busy - before.busy - own) / max(after.all - before.all, 1)
    return session
  }

  private static func cpuSecondsOfChildren() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }
}

extension Session {
  var isOfZones: Bool { measurements.contains(where: \.group.isOfZones) }
}
