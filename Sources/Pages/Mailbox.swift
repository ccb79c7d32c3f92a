// SPDX-License-Identifier: BSD-2-Clause
//
// The mailbox in the root: how another process, one that may trace this one, asks for something. It writes a letter; whoever
// answers here puts the result beside it and the letter's number into `answer`. One letter at a time: a new one is written only
// where the last has its answer.
//
// Nothing makes the letter's words appear at once, and two may write at a time: so a letter bears a seal over all its words, and
// one whose seal does not fit is not there yet. Its number has a random half, so that nobody takes another's answer for their own.
// Who reads it trusts nothing of it.
//
// Who has written rings the bell, again and again until there is an answer: it is a part of the word that free() takes from every
// block's unit number, so that the next free of any thread takes the slow path, which answers and silences it.

import CPlatform

public struct Letter: BitwiseCopyable {
  public var request: UInt64
  public var command: UInt32
  /// What the command is about: for `set`, which option; for `limit`, a type's number, and above bit 16 its mark.
  public var subject: UInt32
  public var value: Int64
  public var seal: UInt64

  public init(request: UInt64, command: UInt32, subject: UInt32 = 0, value: Int64 = 0) {
    self.request = request
    self.command = command
    self.subject = subject
    self.value = value
    seal = 0
    seal = fittingSeal
  }

  /// Never 0 in all-zero memory, so that an empty mailbox holds no letter.
  private var fittingSeal: UInt64 {
    var sum = request &* 0x9e37_79b9_7f4a_7c15
    sum ^= (UInt64(command) << 32 | UInt64(subject)) &* 0xc2b2_ae3d_27d4_eb4f
    sum ^= UInt64(bitPattern: value) &* 0x1656_67b1_9e37_79f9
    return sum ^ 0x5374_6176_654d_6169
  }

  public var isWhole: Bool { seal == fittingSeal }

  /// The same wish, whoever uttered it.
  public func asks(for other: Letter) -> Bool { command == other.command && subject == other.subject && value == other.value }
}

public struct Mailbox: BitwiseCopyable {
  public var letter: Letter
  /// The number of the last letter that was answered.
  public var answer: UInt64
  /// Of a trim the bytes returned, of a set or a limit the value before.
  public var result: Int64
  public var status: UInt32
  /// From here to the bell, in bytes; 0 if there is none.
  public var bell: Int32

  public init() {
    letter = Letter(request: 0, command: 0)
    letter.seal = 0
    answer = 0
    result = 0
    status = 0
    bell = 0
  }
}

/// What a letter may ask for.
public enum MailCommand {
  public static let trim: UInt32 = 1
  public static let set: UInt32 = 2
  public static let limit: UInt32 = 3
  /// A name of a list of types, whose hash is the value: Accounting/TypeNameLetter has the subject.
  public static let name: UInt32 = 4
}

/// What became of it.
public enum MailStatus {
  public static let done: UInt32 = 0
  public static let unknownCommand: UInt32 = 1
  public static let unknownOption: UInt32 = 2
  public static let onlyAtStart: UInt32 = 3
  public static let badValue: UInt32 = 4
  public static let noMemory: UInt32 = 5
  public static let unknownType: UInt32 = 6
  public static let systemRefused: UInt32 = 7
  public static let noPackets: UInt32 = 9
  /// Never told: the letter stays, and is answered at the next occasion.
  public static let notNow: UInt32 = 8
}

/// The mailbox of this process.
public enum OwnMailbox {
  @inline(__always)
  private static var place: UnsafeMutableRawPointer { stave_root_storage() + RootLayout.mailboxOffset }

  /// Two loads: for slow paths.
  @inline(__always)
  public static var hasMail: Bool { root.pointee.mailbox.letter.request != root.pointee.mailbox.answer }

  /// So that others find the bell.
  public static func hangBell() {
    root.pointee.mailbox.bell = Int32(truncatingIfNeeded: UInt(bitPattern: stave_bell()) &- UInt(bitPattern: place))
  }

  public static func silenceBell() { stave_bell().pointee = 0 }

  /// A child of fork has a copy of its parent's letter and of its answer: neither is its own. The bell is.
  public static func empty() {
    root.pointee.mailbox = Mailbox()
    hangBell()
    silenceBell()
  }

  /// A copy, of which each word was loaded once, whatever is written meanwhile. Nil if there is none, or not all of it yet.
  public static func read() -> Letter? {
    let subject = stave_load64(place + 8)
    var letter = Letter(
      request: stave_load64(place), command: UInt32(truncatingIfNeeded: subject), subject: UInt32(truncatingIfNeeded: subject >> 32),
      value: Int64(bitPattern: stave_load64(place + 16)))
    letter.seal = stave_load64(place + 24)
    return letter.isWhole && letter.request != root.pointee.mailbox.answer ? letter : nil
  }

  /// The number last: who sees it sees the rest.
  public static func answer(_ letter: Letter, status: UInt32, result: Int64) {
    root.pointee.mailbox.status = status
    root.pointee.mailbox.result = result
    stave_store64(place + 32, letter.request)
  }
}
