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
  /// Tells this list's letters from those of one that another sends meanwhile.
  public var list: UInt8

  public init(option: Int, _ name: ListedName, at index: Int, of count: Int, list: UInt8) {
    (self.option, self.name, self.index, self.count, self.list) = (option, name, index, count, list)
  }

  public init(_ letter: Letter) {
    option = Int(letter.subject & 0x7f)
    index = Int(letter.subject >> 7 & 0xf)
    count = Int(letter.subject >> 11 & 0x1f)
    list = UInt8(letter.subject >> 16 & 0xff)
    name = ListedName(hash: UInt64(bitPattern: letter.value), sizeClass: UInt8(letter.subject >> 24))
  }

  public func letter(_ request: UInt64) -> Letter {
    let subject = UInt32(option) | UInt32(index) << 7 | UInt32(count) << 11 | UInt32(list) << 16 | UInt32(name.sizeClass) << 24
    return Letter(request: request, command: MailCommand.name, subject: subject, value: Int64(bitPattern: name.hash))
  }
}
