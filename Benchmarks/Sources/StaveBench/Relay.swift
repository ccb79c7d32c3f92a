// SPDX-License-Identifier: BSD-2-Clause
//
// Runs of the relay of Examples/relay-swift between an iperf3 client and its server, all on this machine. Packets per second say little
// where client and server need more of the CPUs than the relay: what the relay costs is the CPU time that it takes for what has
// come through. Once it also runs for its calls of malloc and the items that it took from zones.

import Foundation

struct Relay {
  /// Datagrams of 512 bytes, as many as the client can and so many as all three keep up with; a stream.
  enum Load: String, CaseIterable {
    case flood = "udp-flood", paced = "udp-paced", stream = "tcp"

    var options: [String] {
      switch self {
      case .flood: ["-u", "-b", "0", "-l", "512"]
      case .paced: ["-u", "-b", "80M", "-l", "512"]
      case .stream: []
      }
    }
  }

  var program: String, iperf: String, buffers: String
  var load: Load
  var seconds: Int
  var counter: CallCounter?
  var stave: String  // the command

  /// What iperf3 says in the end.
  private struct Answer: Decodable {
    struct Sum: Decodable {
      var seconds: Double, bytes: Double
      var packets: Double?, lost_packets: Double?
    }
    struct End: Decodable { var sum: Sum?, sum_received: Sum? }
    var end: End
  }

  private struct Failure: Error { var why: String }

  func run(round: Int) throws -> Launcher.Outcome {
    do {
      let start = Date()
      var (figures, peak) = try once(seconds, environment: nil)
      let wall = -start.timeIntervalSinceNow
      if round == 0, load == .paced, let counter {
        let counted = try once(1, environment: counter.environment()).figures, came = max(counted["came"]!, 1)
        figures["calls_x100"] = counter.calls * 100 / came
        figures["items_x100"] = counted["items"]! * 100 / came
      }
      return .done(Sample(round: round, wall: wall, cpu: Double(figures["ns"]!) / 1e9, peakKiB: peak, calm: true, figures: figures))
    } catch let failure as Failure { return .failed(failure.why) }
  }

  private func once(_ seconds: Int, environment: [String: String]?) throws -> (figures: [String: UInt64], peak: Int) {
    let ports = try freePorts(2)
    let server = try Started([iperf, "-s", "-1", "-p", "\(ports[0])", "--forceflush"])
    defer { server.end() }
    let relay = try Started([program, "\(ports[1])", "127.0.0.1", "\(ports[0])", buffers], environment: environment)
    defer { relay.end() }
    guard server.prints("listening"), relay.prints("relaying") else { throw Failure(why: "no server, or no relay") }
    let client = ["timeout", "\(seconds + 20)", iperf, "-c", "127.0.0.1", "-p", "\(ports[1])", "-t", "\(seconds)", "-J"]
    let text = output(of: client + load.options) ?? ""
    guard let end = try? JSONDecoder().decode(Answer.self, from: Data(text.utf8)).end, let sum = end.sum_received ?? end.sum,
      sum.seconds > 0, let cpu = relay.cpuSeconds, let peak = relay.peakKiB
    else { throw Failure(why: "iperf3: \(text.suffix(200))") }
    // Of datagrams those that came; of a stream, megabytes.
    let lost = sum.lost_packets ?? 0, done = load == .stream ? sum.bytes / 1e6 : (sum.packets ?? 0) - lost
    guard done > 0 else { throw Failure(why: "nothing came through") }
    let items = environment == nil ? 0 : itemsOfZones(relay)
    let figures = [
      "ops": UInt64(done), "came": UInt64(done + lost), "ns": UInt64(cpu * 1e9), "per_second": UInt64(done / sum.seconds), "items": items,
    ]
    return (figures, peak)
  }

  /// What all of its zones have served: `stave zones --json`.
  private func itemsOfZones(_ relay: Started) -> UInt64 {
    struct Zones: Decodable {
      struct Statistics: Decodable { var zone: [Zone] }
      struct Zone: Decodable { var requests: UInt64 }
      var statistics: Statistics
      enum CodingKeys: String, CodingKey { case statistics = "memory-zone-statistics" }
    }
    guard let text = output(of: [stave, "zones", "--json", "\(relay.process.processIdentifier)"]),
      let zones = try? JSONDecoder().decode(Zones.self, from: Data(text.utf8))
    else { return 0 }
    return zones.statistics.zone.reduce(0) { $0 + $1.requests }
  }
}
