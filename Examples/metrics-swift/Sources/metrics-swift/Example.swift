// SPDX-License-Identifier: BSD-2-Clause
//
// A server in little: it keeps more and more sessions, and a timer hands the memory's figures to swift-metrics. The backend is one that
// prints; an application has its own, such as swift-prometheus.

import CoreMetrics
import Glibc
import Stave
import StaveMetrics

extension MallocType {
  static let sessions = MallocType("sessions", "who is logged in")
}

@main enum Example {
  static func main() throws {
    let backend = PrintedMetrics()
    MetricsSystem.bootstrap(backend)
    let memory = StaveMetrics()
    var sessions: [[UInt8]] = []
    for round in 0...3 {
      withMallocType(.sessions) {
        for _ in 0..<(100 * round) { sessions.append([UInt8](repeating: 1, count: 968)) }
      }
      // The application's timer.
      do { try memory.update() } catch { return print("no figures: \(error)") }
      print("round \(round): \(backend.made) series made")
      backend.print { $0.hasPrefix("stave_type_") && $0.contains("sessions") || $0.hasPrefix("stave_used_bytes") || $0.hasPrefix("stave_resident") }
    }
    print("\(sessions.count) sessions")
  }
}
