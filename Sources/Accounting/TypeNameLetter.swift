// SPDX-License-Identifier: BSD-2-Clause
//
// A letter with one name of a list of types (TypeNames): the mailbox holds no more at a time.

import Pages

public struct TypeNameLetter {
  /// The number of the option that the list is for.
  public var option: Int
  public var name: ListedName
  public var index: Int
  public var count: Int

  public init(option: Int, _ name: ListedName, at index: Int, of count: Int) {
    (self.option, self.name, self.index, self.count) = (option, name, index, count)
  }

  public init(_ letter: Letter) {
    option = Int(letter.subject & 0xff)
    index = Int(letter.subject >> 8 & 0xff)
    count = Int(letter.subject >> 16 & 0xff)
    name = ListedName(hash: UInt64(bitPattern: letter.value), sizeClass: UInt8(letter.subject >> 24))
  }

  public func letter(_ request: UInt64) -> Letter {
    let subject = UInt32(option) | UInt32(index) << 8 | UInt32(count) << 16 | UInt32(name.sizeClass) << 24
    return Letter(request: request, command: MailCommand.name, subject: subject, value: Int64(bitPattern: name.hash))
  }
}
