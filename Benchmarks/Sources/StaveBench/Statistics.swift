// SPDX-License-Identifier: BSD-2-Clause
//
// Medians, geometric means, and the comparison with the best peer that every table is made of.

import Foundation

func median(_ values: [Double]) -> Double? {
  guard !values.isEmpty else { return nil }
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

func geometricMean(_ values: [Double]) -> Double? {
  values.isEmpty ? nil : exp(values.map(log).reduce(0, +) / Double(values.count))
}

/// What is compared: each with a value per sample, less being better.
enum Measure: String, CaseIterable {
  case wall, cpu, peak

  func value(_ sample: Sample) -> Double {
    switch self {
    case .wall: sample.wall
    case .cpu: sample.cpu
    case .peak: Double(sample.peakKiB)
    }
  }
}

struct Summary {
  var least, median, greatest: Double
  /// The width of the samples as a share of their median.
  var spread: Double { median > 0 ? (greatest - least) / median : 0 }
}

extension Measurement {
  /// The samples that count: of one that needs a calm machine only those from a calm machine, if there are any.
  func countedSamples(_ allocator: String) -> [Sample] {
    let all = samples[allocator] ?? []
    let calm = all.filter(\.calm)
    return group.needsCalm && !calm.isEmpty ? calm : all
  }

  /// True if one that needs a calm machine has only samples from a busy machine.
  func isDoubtful(_ allocator: String) -> Bool {
    group.needsCalm && !(samples[allocator] ?? []).contains(where: \.calm)
  }

  func summary(_ measure: Measure, _ allocator: String) -> Summary? {
    guard failures[allocator] == nil else { return nil }
    let values = countedSamples(allocator).map(measure.value)
    guard let middle = median(values) else { return nil }
    return Summary(least: values.min()!, median: middle, greatest: values.max()!)
  }

  func figure(_ name: String, _ allocator: String) -> Double? {
    guard failures[allocator] == nil else { return nil }
    return median((samples[allocator] ?? []).compactMap { $0.figures[name] }.map { Double($0) })
  }

  /// ns per operation, the least of all samples: whatever else the machine does can only add to it.
  func cost(_ allocator: String) -> Double? {
    guard failures[allocator] == nil else { return nil }
    return (samples[allocator] ?? []).compactMap { sample in
      guard let ns = sample.figures["ns"], let ops = sample.figures["ops"], ops > 0 else { return nil }
      return Double(ns) / Double(ops)
    }.min()
  }
}

/// One workload's allocators by one measure, relative to the best peer.
struct Comparison {
  var measurement: Measurement
  var best: Double
  var ratios: [String: Double]

  init?(_ measurement: Measurement, _ measure: Measure, _ allocators: [AllocatorRecord]) {
    var medians: [String: Double] = [:]
    for allocator in allocators { medians[allocator.name] = measurement.summary(measure, allocator.name)?.median }
    guard let best = allocators.filter(\.isPeer).compactMap({ medians[$0.name] }).min(), best > 0 else { return nil }
    self.measurement = measurement
    self.best = best
    ratios = medians.mapValues { $0 / best }
  }
}

extension Session {
  func comparisons(_ group: Group, _ measure: Measure) -> [Comparison] {
    measurements.filter { $0.group == group }.compactMap { Comparison($0, measure, allocators) }
  }

  /// Each allocator's mean ratio, over those workloads that every allocator completed: else the means would not compare.
  /// An allocator that completed none of them, such as a library that does not load, is left out.
  func means(_ comparisons: [Comparison]) -> [String: Double] {
    let running = Set(comparisons.flatMap(\.ratios.keys))
    let complete = comparisons.filter { $0.ratios.count == running.count }
    var means: [String: Double] = [:]
    for allocator in allocators { means[allocator.name] = geometricMean(complete.compactMap { $0.ratios[allocator.name] }) }
    return means
  }
}
