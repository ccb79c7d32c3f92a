// SPDX-License-Identifier: BSD-2-Clause
//
// What this process does when another asks: give memory back, change an option, a list of types, or a type's limit.
// A letter comes from somebody who may trace this process; it is checked here all the same, since a wrong one could be a mistake, and
// a check costs next to nothing.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Zones

extension Heap {
  /// Answers the letter in the mailbox, if a whole one is there and nobody else is at it. Called without any lock of ours. Without
  /// `mayRunHooks` zones keep what an author's code would have to see go.
  @inline(never)
  public static func answerMailbox(mayRunHooks: Bool = true) {
    OwnMailbox.silenceBell()
    // A child of vfork works in its parent's memory, and one of a bare clone has a copy of the letter: neither was asked.
    guard stave_getpid() == Int(root.pointee.process), stave_claim(&heap.pointee.mailboxBusy) else { return }
    if let letter = OwnMailbox.read() {
      let answer = obey(letter, mayRunHooks: mayRunHooks)
      if answer.status != MailStatus.notNow { OwnMailbox.answer(letter, status: answer.status, result: answer.result) }
    }
    heap.pointee.mailboxBusy = 0
  }

  static func obey(_ letter: Letter, mayRunHooks: Bool = true) -> (status: UInt32, result: Int64) {
    switch letter.command {
    case MailCommand.trim: return (MailStatus.done, Int64(truncatingIfNeeded: trim(runningHooks: mayRunHooks)))
    case MailCommand.set: return set(letter.subject, to: letter.value, mayRunHooks)
    case MailCommand.name: return take(TypeNameLetter(letter))
    case MailCommand.limit: return limit(letter.subject, to: letter.value)
    default: return (MailStatus.unknownCommand, 0)
    }
  }

  /// One name of a list; with the last one, the list is the option's value. The result is the value before.
  private static func take(_ letter: TypeNameLetter) -> (status: UInt32, result: Int64) {
    guard let option = Option(rawValue: letter.option), let use = option.nameUse else { return (MailStatus.unknownOption, 0) }
    let before = heap.pointee.options[option]
    guard letter.name.sizeClass == 0 || option.takesZones, types.choose(letter.name, at: letter.index, of: letter.count, list: letter.list, for: use) else {
      return (MailStatus.badValue, before)
    }
    if letter.index + 1 == letter.count {
      heap.pointee.options.values[option.rawValue] = Int64(ListMode.listed)
      if use == .guards {
        memGuard.followZones()
        heap.openFastPath()
      }
    }
    return (MailStatus.done, before)
  }

  /// The result is the limit before.
  private static func limit(_ subject: UInt32, to bytes: Int64) -> (status: UInt32, result: Int64) {
    guard bytes >= 0 else { return (MailStatus.badValue, 0) }
    var isDone = false
    guard let before = types.setLimit(number: subject & 0xffff, mark: subject >> 16, bytes, &isDone) else { return (MailStatus.unknownType, 0) }
    return (isDone ? MailStatus.done : MailStatus.systemRefused, before)
  }

  /// The result is the value before.
  private static func set(_ number: UInt32, to value: Int64, _ mayRunHooks: Bool) -> (status: UInt32, result: Int64) {
    guard let option = Option(rawValue: Int(number)) else { return (MailStatus.unknownOption, 0) }
    let before = heap.pointee.options[option]
    guard option.isChangeable else { return (MailStatus.onlyAtStart, before) }
    guard option.takes(value) else { return (MailStatus.badValue, before) }
    if let limit = option.packetLimit { return setPacketLimit(option, limit, to: value) }
    if option == .sizes && value == 1 && before == 0 && !sizeHistogram.begin() { return (MailStatus.noMemory, before) }
    heap.pointee.options.values[option.rawValue] = value
    if option == .memguard && !configureGuards() {
      heap.pointee.options.values[option.rawValue] = 0
      return (MailStatus.noMemory, before)
    }
    if option == .check || option == .checkDivisor {
      guard value == before || heap.applyChecks(runningHooks: mayRunHooks) else { return (MailStatus.systemRefused, before) }
    }
    if value != before { heap.apply(option) }
    return (MailStatus.done, before)
  }
}

extension UnsafeMutablePointer where Pointee == HeapState {
  /// Where the options about reports are looked at.
  func applyReports() {
    stave_reports().pointee.place = UInt32(pointee.options[.report])
    stave_reports().pointee.mode = UInt32(pointee.options[.onreport])
    stacks.pointee.mode = UInt32(pointee.options[.stacks])
  }

  /// Does what a change of an option asks for beyond its new value.
  func apply(_ option: Option) {
    switch option {
    case .failureRate, .sizes, .redZone: openFastPath()
    case .redZoneType: types.choose(UInt32(pointee.options[.redZoneType]), for: .redZone)
    case .report, .onreport, .stacks: applyReports()
    case .probes: types.choose(UInt32(pointee.options[.probes]), for: .probes)
    case .types:
      pointee.watchesLoading = true
      openFastPath()
      Heap.forgetCallers()
    case .memguardType, .memguardMin, .memguardMax, .memguardPages, .memguardNoFree, .memguardSide, .memguardWidth, .memguardDivisor: _ = Heap.configureGuards()
    case .verbose: metadataPages.pointee.namesAll = pointee.options[.verbose] == 1
    case .zoneWarnings: zones.pointee.isQuiet = pointee.options[.zoneWarnings] == 0
    case .inspect: Heap.allowInspection(pointee.options[.inspect] == 1)
    case .hugepages: arena.setHugePages(pointee.options[.hugepages])
    case .stats, .leaks:
      // Standard error as it will be at the end: the thread that answers may have no descriptors.
      if pointee.statisticsFileIdentity == 0 { (pointee.statisticsFile, pointee.statisticsFileIdentity) = (2, HeapState.anyFile) }
    default: break
    }
  }
}
