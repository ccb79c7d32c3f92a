// SPDX-License-Identifier: BSD-2-Clause
//
// Lists of malloc types by name, letter by letter: a list holds when it is whole, and what is wrong changes nothing.

@testable import Accounting
import CPlatform
@testable import Heap
import Pages
import Primitives
import Testing

@testable import TestSupport

extension OnRoot {
  @Suite struct TypeNamesTests {
    private static func letter(_ option: Option, _ name: StaticString, _ index: Int, of count: Int, list: UInt8 = 7, sizeClass: UInt8 = 0) -> (status: UInt32, result: Int64) {
      let name = ListedName(hash: FixedName(name).longHash, sizeClass: sizeClass)
      return Heap.obey(TypeNameLetter(option: option.rawValue, name, at: index, of: count, list: list).letter(1))
    }

    @Test(arguments: [Option.probes, .redZoneType, .memguardType])
    func `a list holds with its last name, and until then the one before`(_ option: Option) async {
      await #expect(processExitsWith: .success) { [number = option.rawValue as Int] in
        Stage.up()
        let option = Option(rawValue: number)!, use = option.nameUse!
        let images = types.named(FixedName("images"))!, texts = types.named(FixedName("texts"))!
        func chosen() -> [Bool] { [images, texts, nil].map { types.choice(of: $0, for: use) == Choice.all } }
        precondition(chosen() == [true, true, true] && heap.pointee.options[option] == 0, "the default is all")
        let only = TypeNamesTests.letter(option, "images", 0, of: 1)
        precondition(only.status == MailStatus.done && only.result == 0 && heap.pointee.options[option] == 2 && chosen() == [true, false, false])
        precondition(TypeNamesTests.letter(option, "texts", 0, of: 2).status == MailStatus.done && chosen() == [true, false, false])
        precondition(TypeNamesTests.letter(option, "malloc", 1, of: 2).result == 2 && chosen() == [false, true, true])
        // A list is given up for another that begins meanwhile, and one that goes on in the middle is none.
        precondition(TypeNamesTests.letter(option, "images", 0, of: 3).status == MailStatus.done)
        precondition(TypeNamesTests.letter(option, "malloc", 0, of: 1).status == MailStatus.done && chosen() == [false, false, true])
        precondition(TypeNamesTests.letter(option, "texts", 1, of: 3).status == MailStatus.badValue)
        // Letters of two lists by turns are none of both.
        precondition(TypeNamesTests.letter(option, "images", 0, of: 2, list: 1).status == MailStatus.done)
        precondition(TypeNamesTests.letter(option, "texts", 0, of: 2, list: 2).status == MailStatus.done)
        precondition(TypeNamesTests.letter(option, "images", 1, of: 2, list: 1).status == MailStatus.badValue)
        precondition(chosen() == [false, false, true])
        for wrong in [(16, 17), (1, 1), (3, 2), (0, 0), (0, 17), (1, 16)] {
          precondition(TypeNamesTests.letter(option, "texts", wrong.0, of: wrong.1).status == MailStatus.badValue, "\(wrong)")
        }
        precondition(chosen() == [false, false, true])
        for index in 0..<16 { precondition(TypeNamesTests.letter(option, index == 15 ? "images" : "x", index, of: 16).status == MailStatus.done) }
        precondition(chosen() == [true, false, false])
        // What is named before it is there.
        precondition(TypeNamesTests.letter(option, "late", 0, of: 1).status == MailStatus.done)
        precondition(types.choice(of: types.named(FixedName("late"))!, for: use) == Choice.all && chosen() == [false, false, false])
        let zone = TypeNamesTests.letter(option, "images", 0, of: 1, sizeClass: UInt8(SizeClass.index(for: 128) + 1)).status
        precondition(zone == (option.takesZones ? MailStatus.done : MailStatus.badValue))
        precondition(types.chooses(images, SizeClass.index(for: 128), for: use) == option.takesZones && !types.chooses(images, SizeClass.index(for: 64), for: use))
        precondition(!types.chooses(images, nil, for: use) && !types.chooses(nil, SizeClass.index(for: 128), for: use))
        // None, and what was last named again.
        for (value, isThere) in [(1, false), (2, true)] as [(Int64, Bool)] where !option.takesZones {
          precondition(Heap.obey(OnRoot.MailboxTests.set(option, value)).status == MailStatus.done)
          precondition((types.choice(of: types.named(FixedName("late"))!, for: use) == Choice.all) == isThere)
        }
      }
    }

    @Test func `a list for what takes none, or for no option, is refused`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        precondition(TypeNamesTests.letter(.period, "images", 0, of: 1).status == MailStatus.unknownOption)
        let nowhere = TypeNameLetter(option: 200, ListedName(hash: 1), at: 0, of: 1, list: 0).letter(1)
        precondition(Heap.obey(nowhere).status == MailStatus.unknownOption)
        for use in [NameUse.probes, .redZone, .guards] { precondition(typeNames(use).pointee.mode == ListMode.all) }
      }
    }
  }
}
