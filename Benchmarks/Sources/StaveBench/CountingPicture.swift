// SPDX-License-Identifier: BSD-2-Clause
//
// The cost of counting against the number of threads, a line for each way of counting: FreeBSD's picture of May 2005, when it gave
// up one counter under a mutex for counters of each CPU. Both axes are logarithmic; flat means that threads do not meet.

import Foundation

struct CountingPicture {
  var session: Session

  private let left = 60.0, top = 84.0, panelWidth = 560.0, height = 260.0, inset = 30.0

  /// nil if nothing of counting/ was measured.
  var svg: String? {
    let report = TypesReport(session: session), threads = report.threads
    // Stave's mark is the way that Stave counts; the others have the colours of peers.
    let ways = TypesReport.ways.sorted { one, other in one.key == "types" && other.key != "types" }
    let lines = ways.map { way in threads.compactMap { at in report.counting(way.key, at).map { (at: at, cost: $0) } } }
    let costs = lines.joined().flatMap { [$0.cost.least, $0.cost.greatest] }
    guard let first = threads.first, let last = threads.last, let least = costs.min(), let greatest = costs.max(), least > 0 else { return nil }
    var shown = session
    shown.allocators = ways.map { AllocatorRecord(name: $0.key == "types" ? "stave" : "peer", version: "", file: "") }
    let drawing = Drawing(session: shown, width: left + panelWidth)
    let ticks = ScalePicture.ticks(from: least, to: greatest), low = log10(ticks.first!), high = log10(ticks.last!)
    func y(_ cost: Double) -> Double { top + height * (high - log10(cost)) / (high - low) }
    func x(_ at: Int) -> Double {
      left + inset + (panelWidth - 2 * inset) * (log2(Double(at)) - log2(Double(first))) / max(log2(Double(last)) - log2(Double(first)), 1)
    }

    var body = drawing.text(left, 20, "counting each malloc and free: ns for a pair (less is better; flat: threads do not meet)", "heading")
    var at = left + 6
    for (index, way) in ways.enumerated() {
      body += drawing.mark(index, Point(x: at, y: 42), title: way.label) + drawing.text(at + 9, 46, way.label, "label")
      at += 34 + 6.2 * Double(way.label.count)
    }
    for tick in ticks {
      body += drawing.text(left - 6, y(tick) + 4, ScalePicture.grouped(tick), "label end")
      body += drawing.rule(Point(x: left, y: y(tick)), Point(x: left + panelWidth, y: y(tick)), log10(tick).rounded() == log10(tick) ? "grid" : "faint")
    }
    for count in threads {
      body += drawing.rule(Point(x: x(count), y: top), Point(x: x(count), y: top + height), "grid")
      body += drawing.text(x(count), top + height + 16, count == 1 ? "1 thread" : "\(count)", "label middle")
    }
    for (index, line) in lines.enumerated().reversed() {
      body += drawing.line(index, line.map { Point(x: x($0.at), y: y($0.cost.median)) })
      for point in line {
        let title = "\(ways[index].label), \(point.at) threads: \(fixed(point.cost.median, 2)) ns, \(fixed(point.cost.least, 2)) to \(fixed(point.cost.greatest, 2))"
        body += drawing.mark(index, Point(x: x(point.at), y: y(point.cost.median)), title: title)
      }
    }
    let note = drawing.source + " · median of \(session.rounds) rounds"
    return drawing.document(height: top + height + 48, body + drawing.text(left, top + height + 40, note, "label"))
  }
}
