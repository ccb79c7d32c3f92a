// SPDX-License-Identifier: BSD-2-Clause
//
// The mailbox in a process's root, from outside: one letter at a time, sealed and numbered, written only if the last was answered,
// and only into a root; and the bell, until there is an answer. A PID may belong to another process by now, the process may have become another program, or may work in
// the memory of its parent: that is looked at again right before the one write. Pages/Mailbox.swift has the other side.

import Accounting
import CPlatform
import Glibc
import Heap
import Pages

public struct Mail {
  public enum Answer: Equatable, Sendable {
    /// Bytes returned, or the value before.
    case done(Int)
    /// The letter is there, and will be answered at the `occasion`, or when the background thread looks.
    case pending
  }

  private let process: LiveProcess
  private let root: UInt
  private var address: UInt { root &+ UInt(RootLayout.mailboxOffset) }

  public init(_ process: LiveProcess, _ location: RootLocation) {
    self.process = process
    root = location.address
  }

  /// When the process answers what is pending.
  public var occasion: String {
    let isOwn = try? process.read(UInt32.self, at: root &+ UInt(MemoryLayout<RootHeader>.offset(of: \.isOwn)!))
    return isOwn == 1 ? "when the caches of its zones next fail to serve a call" : "when it next frees a block"
  }

  /// Asks to give back what is not used.
  public func trim(waiting seconds: Double) throws(InspectionError) -> Answer {
    try ask(Letter(request: newNumber, command: MailCommand.trim), "", waiting: seconds)
  }

  /// Asks for an option's value to change. Throws `refused`, with the reason, if the process does not do it.
  public func set(_ option: Option, to value: Int64, waiting seconds: Double) throws(InspectionError) -> Answer {
    try ask(
      Letter(request: newNumber, command: MailCommand.set, subject: UInt32(option.rawValue), value: value), option.key.description,
      waiting: seconds)
  }

  /// Asks for an option to hold for the types of these names, 16 at most: a letter for each, and the option changes with the last.
  /// Throws `refused` if it is busy in between; nothing has changed then.
  public func set(_ option: Option, to names: [ListedName], waiting seconds: Double) throws(InspectionError) -> Answer {
    var answer = Answer.pending
    let list = UInt8.random(in: 0 ... .max)
    for (index, name) in names.enumerated() {
      answer = try ask(TypeNameLetter(option: option.rawValue, name, at: index, of: names.count, list: list).letter(newNumber), option.key.description, waiting: seconds)
      if answer == .pending, index + 1 < names.count { throw .refused("it is busy, and \(option.key) is as it was: ask again when it works") }
    }
    return answer
  }

  /// Asks for a type's limit to change, 0 for none. Throws as `set`.
  public func setLimit(of type: TypeSnapshot, to bytes: Int, waiting seconds: Double) throws(InspectionError) -> Answer {
    try ask(
      Letter(request: newNumber, command: MailCommand.limit, subject: type.number | type.mark << 16, value: Int64(bytes)), "the limit of \(type.label)",
      waiting: seconds)
  }

  /// Throws `noSuchProcess` if the process is another by now, `noStave` if its memory is, `refused` if it works in another's memory
  /// or somebody else's letter stays unanswered; nothing has been written then.
  func ask(_ wanted: Letter, _ subject: String, waiting seconds: Double) throws(InspectionError) -> Answer {
    var letter = wanted
    var isWritten = false
    var waited = 0.0
    while true {
      let box = try process.read(Mailbox.self, at: address)
      if isWritten, box.answer == letter.request { return try Self.meaning(of: box, subject) }
      if !isWritten || box.letter.request != letter.request {
        // Either nobody has asked yet, or somebody else did at the same moment and ours is lost.
        // One that is not whole and stays so was left behind by two who wrote at once and went.
        if box.letter.request == box.answer || !box.letter.isWhole && waited >= 0.2 {
          try write(letter, bell: box.bell)
          isWritten = true
          continue
        }
        // Somebody's letter lies there. Is it the same wish, its answer will do.
        if box.letter.isWhole && box.letter.asks(for: letter) {
          letter = box.letter
          isWritten = true
          continue
        }
        isWritten = false
      }
      // Once more where two wrote at once; and whoever's letter lies there, it is rung for.
      try write(isWritten && !box.letter.isWhole ? letter : nil, bell: box.bell)
      if waited >= seconds {
        if isWritten { return .pending }
        throw .refused("it has not answered an earlier request yet; it does \(occasion)")
      }
      usleep(10_000)
      waited += 0.01
    }
  }

  /// Writes the letter, if there is one to write, and rings.
  private func write(_ letter: Letter?, bell: Int32) throws(InspectionError) {
    guard process.isAlive else { throw .noSuchProcess(process.process) }
    let header = try process.readArray(UInt32.self, at: root, count: 5, limit: 5)
    guard UInt64(header[0]) | UInt64(header[1]) << 32 == RootLayout.magic else { throw .noStave(target: process.name) }
    if header[2] != RootLayout.version { throw .versionMismatch(found: header[2], expected: RootLayout.version) }
    if let number = process.numberInside, number != header[4] {
      throw .refused("its memory is that of process \(header[4]) (it is a child of vfork), or a copy of that (made by a bare clone)")
    }
    if let letter { try process.write(value: letter, at: address) }
    if bell != 0 { try process.write(value: UInt16(1), at: address &+ UInt(bitPattern: Int(bell))) }
  }

  /// Differs from any before, also from what others choose at the same moment.
  var newNumber: UInt64 { UInt64.random(in: 1 ... .max) }

  private static func meaning(of box: Mailbox, _ subject: String) throws(InspectionError) -> Answer {
    switch box.status {
    case MailStatus.done: return .done(Int(box.result))
    case MailStatus.onlyAtStart: throw .refused("\(subject) takes its value only when the program starts")
    case MailStatus.badValue: throw .refused("\(subject) does not take that value there")
    case MailStatus.noMemory: throw .refused("there is no memory for what \(subject) needs there")
    case MailStatus.unknownOption: throw .refused("it has no option of that number")
    case MailStatus.noPackets: throw .refused("it has no packet buffers: \(subject) is for programs with zones of their own")
    case MailStatus.unknownType: throw .refused("it has no such malloc type any more")
    case MailStatus.systemRefused: throw .refused("\(subject) cannot change: the system does not let it stop its caches for a moment")
    case MailStatus.unknownCommand: throw .refused("it does not know that request")
    default: throw .damaged("an answer of status \(box.status)")
    }
  }
}
