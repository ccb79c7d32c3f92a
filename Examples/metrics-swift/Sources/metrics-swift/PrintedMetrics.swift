// SPDX-License-Identifier: BSD-2-Clause
//
// A backend of swift-metrics that keeps the newest figure of each series, for print.

import CoreMetrics
import Synchronization

final class PrintedMetrics: MetricsFactory, Sendable {
  private let figures = Mutex<[String: Int64]>([:])
  private let handlersMade = Atomic(0)

  /// One series. swift-metrics hands on what is set, and what a counter grows by.
  final class Handler: CounterHandler, MeterHandler, RecorderHandler, TimerHandler, Sendable {
    let name: String
    let backend: PrintedMetrics

    init(_ name: String, _ backend: PrintedMetrics) { (self.name, self.backend) = (name, backend) }

    func increment(by amount: Int64) { backend.figures.withLock { $0[name, default: 0] += amount } }
    func reset() { backend.figures.withLock { $0[name] = 0 } }
    func set(_ value: Int64) { backend.figures.withLock { $0[name] = value } }
    func set(_ value: Double) { set(Int64(value)) }
    func increment(by amount: Double) { increment(by: Int64(amount)) }
    func decrement(by amount: Double) { increment(by: -Int64(amount)) }
    func record(_ value: Int64) { set(value) }
    func record(_ value: Double) { set(Int64(value)) }
    func recordNanoseconds(_ duration: Int64) { set(duration) }
  }

  private func make(_ label: String, _ dimensions: [(String, String)]) -> Handler {
    handlersMade.add(1, ordering: .relaxed)
    let labels = dimensions.map { "\($0)=\"\($1)\"" }.joined(separator: ",")
    return Handler(labels.isEmpty ? label : "\(label){\(labels)}", self)
  }

  func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler { make(label, dimensions) }
  func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler { make(label, dimensions) }
  func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler { make(label, dimensions) }
  func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { make(label, dimensions) }

  private func destroy(_ handler: Any) {
    guard let handler = handler as? Handler else { return }
    figures.withLock { _ = $0.removeValue(forKey: handler.name) }
  }
  func destroyCounter(_ handler: any CounterHandler) { destroy(handler) }
  func destroyMeter(_ handler: any MeterHandler) { destroy(handler) }
  func destroyRecorder(_ handler: any RecorderHandler) { destroy(handler) }
  func destroyTimer(_ handler: any TimerHandler) { destroy(handler) }

  /// How many series have been registered.
  var made: Int { handlersMade.load(ordering: .relaxed) }

  func print(_ isWanted: (String) -> Bool) {
    for (name, value) in figures.withLock({ $0.filter { isWanted($0.key) } }).sorted(by: { $0.key < $1.key }) { Swift.print(name, value) }
  }
}
