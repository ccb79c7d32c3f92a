// SPDX-License-Identifier: BSD-2-Clause
//
// A snapshot as text that Prometheus reads: OpenMetrics 1.0, or the older format of the same samples, which node_exporter's textfile
// collector wants (it knows no units and no info metrics).

import Inspection

public enum OpenMetrics {
  public enum Format: Sendable { case openMetrics, prometheus }

  /// Of an HTTP answer.
  public static let contentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

  /// Ends with a newline.
  public static func text(_ snapshot: Snapshot, _ format: Format = .openMetrics) -> String {
    var lines: [String] = []
    for metric in Metric.all {
      let samples = metric.samples(snapshot)
      if samples.isEmpty { continue }
      let family = format == .openMetrics ? metric.family : metric.name
      lines.append("# TYPE \(family) \(format == .prometheus && metric.kind == .info ? "gauge" : metric.kind.rawValue)")
      if format == .openMetrics && !metric.unit.isEmpty { lines.append("# UNIT \(family) \(metric.unit)") }
      lines.append("# HELP \(family) \(escaped(metric.meaning))")
      for sample in samples {
        let labels = sample.labels.map { "\($0.name)=\"\(escaped($0.value))\"" }.joined(separator: ",")
        lines.append(metric.name + (labels.isEmpty ? "" : "{\(labels)}") + " \(sample.value)")
      }
    }
    if format == .openMetrics { lines.append("# EOF") }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "\n": result += "\\n"
      default: result.append(character)
      }
    }
    return result
  }
}
