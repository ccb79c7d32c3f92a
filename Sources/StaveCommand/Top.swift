// SPDX-License-Identifier: BSD-2-Clause
//
// `stave top`: the zones or malloc types of a process on the whole screen, with keys. TopView.swift says what is shown.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Watch a process's zones or malloc types on the full screen.",
    discussion: """
      Keys for the order: m memory, u used, f free, r requests per second, c requests in total, n name, s size. t \
      switches between zones and malloc types. Arrows and page keys move, w shows all columns, p or space pauses, q ends.
      """)

  @OptionGroup var target: TargetArguments

  @Option(name: [.short, .customLong("wait")], help: ArgumentHelp("Seconds between two looks.", valueName: "seconds"))
  var wait = 1.0

  @Option(name: [.short, .customLong("count")], help: ArgumentHelp("How many looks; without end if not given.", valueName: "count"))
  var count: Int?

  func validate() throws { try RepeatArguments.validate(wait, count) }

  func run() throws {
    guard Terminal.isInteractive else {
      throw InspectionError.usage("stave top wants a terminal; elsewhere `stave zones -w 1` shows the same")
    }
    var looks = try Looks(target)
    var view = TopView(style: Style(descriptor: 1))
    view.add(try looks.next(), looks.entry)
    Keyboard.listen()
    let screen = Terminal(descriptor: 1, full: true)
    let failure = watch(&looks, &view, screen)
    screen.close()
    guard let failure else { return }
    guard case .noSuchProcess = failure else { throw failure }
    emit("\(looks.target.name.printable) has ended")
  }

  /// Until a key, a signal, the count or an error ends it.
  private func watch(_ looks: inout Looks, _ view: inout TopView, _ screen: Terminal) -> InspectionError? {
    var done = 1
    var bad = 0
    var next = monotonicSeconds() + wait
    while !Keyboard.isEnded {
      if Keyboard.takeStop() {
        screen.close()
        kill(getpid(), SIGSTOP)
        screen.open()
      }
      screen.draw(view.lines(size: screen.size))
      if let key = screen.key(waiting: next - monotonicSeconds()), !view.take(key) { break }
      guard monotonicSeconds() >= next else { continue }
      next = monotonicSeconds() + wait
      if view.isPaused { continue }
      if done >= count ?? .max { break }
      do throws(InspectionError) {
        view.add(try looks.next(), looks.entry)
        (done, bad, view.notice) = (done + 1, 0, looks.change ?? "")
      } catch {
        // A picture may fail while a busy process changes; one that always fails is broken.
        switch error {
        case .damaged, .shortRead: bad += 1
        default: return error
        }
        if bad > 10 { return error }
        view.notice = "no new picture: the process is changing too fast; trying again"
      }
    }
    return nil
  }
}

/// Signals that keys or other processes send while the screen is ours: each ends or stops the loop, which puts the screen back.
private enum Keyboard {
  nonisolated(unsafe) static var isEnded = false
  private nonisolated(unsafe) static var isStopped = false

  static func listen() {
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { signal(number) { _ in Keyboard.isEnded = true } }
    signal(SIGTSTP) { _ in Keyboard.isStopped = true }
    signal(SIGWINCH) { _ in }
    signal(SIGCONT) { _ in }
  }

  static func takeStop() -> Bool {
    defer { isStopped = false }
    return isStopped
  }
}
