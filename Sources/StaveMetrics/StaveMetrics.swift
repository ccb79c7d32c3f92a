// SPDX-License-Identifier: BSD-2-Clause
//
// # StaveMetrics
//
// The figures of this process's own memory for swift-metrics, by the names of `stave metrics` (Exporters/Metric.swift). Only with the
// package's trait `Metrics`.
//
//     let memory = StaveMetrics()
//     // by a timer of the application's, such as every ten seconds:
//     try memory.update()
//
// Each call of `update` takes one snapshot, as the command takes it from outside, and hands its figures on: gauges as meters, counters
// as counters, by what they have grown. There is no thread here and no timer. With libraries that push to a backend, the application's
// timer sets the pace; with those that are asked, the figures are as old as the last call.

#if Metrics
  public import CoreMetrics
  import Exporters
  import Glibc
  import Inspection
  import Synchronization

  /// Hands the figures of this process's malloc on to swift-metrics, at each ``update()``. Keep one for as long as the program runs: it
  /// remembers which metrics it has registered, and how far counters have come. May be used by any thread.
  public final class StaveMetrics: Sendable {
    /// One metric with one set of labels.
    private struct Key: Hashable {
      var name: String
      var label: String
    }

    private enum Series {
      case meter(Meter)
      /// With the figure that it has come to.
      case counter(Counter, Int)
    }

    private struct State: ~Copyable {
      var reader: ProcessReader?
      var process: Int32 = 0
      var series: [Key: Series] = [:]
    }

    private let factory: any MetricsFactory
    private let includesZones: Bool
    private let state = Mutex(State())

    /// Registers nothing yet: each metric is registered when it first has a figure, once.
    ///
    /// - Parameters:
    ///   - factory: Where metrics are made; if none is given, the one that the application has bootstrapped.
    ///   - includesZones: Whether the figures of each zone are wanted, some 200 series and more; those of malloc types always are.
    public init(factory: (any MetricsFactory)? = nil, includesZones: Bool = false) {
      self.factory = factory ?? MetricsSystem.factory
      self.includesZones = includesZones
    }

    /// Takes a snapshot and hands on its figures. Series whose zone or type has gone are destroyed. Costs some milliseconds, and memory
    /// for a copy of the zones' figures; waits for another call that is under way. May be called from any thread.
    ///
    /// Throws why there is no snapshot: this process has no Stave, or changes too fast to be read. What was handed on before stays.
    public func update() throws(Failure) {
      let failure: Failure? = state.withLock { state in
        do throws(InspectionError) { try update(&state) } catch { return Failure(error) }
        return nil
      }
      if let failure { throw failure }
    }

    /// Why there are no figures.
    public struct Failure: Error, CustomStringConvertible {
      /// The reason in a sentence for people, such as "this process's malloc is not Stave".
      public let description: String

      fileprivate init(_ error: InspectionError) {
        if case .noStave = error { description = "this process's malloc is not Stave" } else { description = error.message }
      }
    }

    private func update(_ state: inout State) throws(InspectionError) {
      // A child of fork reads itself.
      if state.process != getpid() { (state.reader, state.process) = (nil, getpid()) }
      if state.reader == nil { state.reader = try ProcessReader(LiveProcess(process: getpid())) }
      let snapshot = try state.reader!.look()
      var gone = Set(state.series.keys)
      for metric in Metric.all {
        for sample in metric.samples(snapshot) where includesZones || sample.labels.first?.name != "zone" {
          let key = Key(name: metric.name, label: sample.labels.first?.value ?? "")
          gone.remove(key)
          state.series[key] = next(state.series[key], metric, sample)
        }
      }
      for key in gone { destroy(state.series.removeValue(forKey: key)) }
    }

    private func next(_ known: Series?, _ metric: Metric, _ sample: Metric.Sample) -> Series {
      let dimensions = sample.labels.map { ($0.name, $0.value) }
      if metric.kind == .counter {
        var (counter, before) = (nil as Counter?, 0)
        if case .counter(let known, let figure) = known { (counter, before) = (known, figure) }
        let made = counter ?? Counter(label: metric.name, dimensions: dimensions, factory: factory)
        // A zone that has been made anew counts from zero.
        made.increment(by: sample.value >= before ? sample.value - before : sample.value)
        return .counter(made, sample.value)
      }
      var meter: Meter?
      if case .meter(let known) = known { meter = known }
      let made = meter ?? Meter(label: metric.name, dimensions: dimensions, factory: factory)
      made.set(sample.value)
      return .meter(made)
    }

    private func destroy(_ series: Series?) {
      switch series {
      case .meter(let meter): meter.destroy()
      case .counter(let counter, _): counter.destroy()
      case nil: break
      }
    }
  }
#endif
