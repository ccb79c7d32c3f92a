// SPDX-License-Identifier: BSD-2-Clause
//
// The machine: what it is, and whether it is calm enough to measure threads on.

import Foundation

enum Machine {
  static func record() -> MachineRecord {
    var names = utsname()
    uname(&names)
    let release = withUnsafeBytes(of: &names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let processors = read("/proc/cpuinfo").split(separator: "\n")
    let model = processors.first { $0.hasPrefix("model name") || $0.hasPrefix("CPU part") } ?? "unknown processor"
    let memory = read("/proc/meminfo").split(separator: "\n").first?.split(separator: " ").compactMap { Int($0) }.first ?? 0
    return MachineRecord(
      kernel: release, processor: String(model.drop { $0 != ":" }.dropFirst(2)),
      cpus: sysconf(Int32(_SC_NPROCESSORS_ONLN)), memoryMiB: memory / 1024)
  }

  /// CPU seconds since boot: spent by anyone on anything but waiting, and in all.
  static func cpuSeconds() -> (busy: Double, all: Double) {
    let line = read("/proc/stat").split(separator: "\n").first ?? ""
    // user nice system idle iowait irq softirq steal; what follows is contained in the first two.
    let ticks = line.split(separator: " ").dropFirst().prefix(8).compactMap { Double($0) }
    guard ticks.count >= 5 else { return (0, 0) }
    let all = ticks.reduce(0, +)
    let second = Double(sysconf(Int32(_SC_CLK_TCK)))
    return ((all - ticks[3] - ticks[4]) / second, all / second)
  }

  /// Waits until the CPUs are nine tenths idle over a fifth of a second. False if they were not within `patience` seconds.
  static func waitForCalm(patience: Double) -> Bool {
    let start = Date()
    repeat {
      let before = cpuSeconds()
      usleep(200_000)
      let after = cpuSeconds()
      let share = (after.busy - before.busy) / max(after.all - before.all, 0.01)
      if share <= 0.1 { return true }
    } while -start.timeIntervalSinceNow < patience
    return false
  }

  private static func read(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
}
