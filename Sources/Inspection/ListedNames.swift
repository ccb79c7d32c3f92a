// SPDX-License-Identifier: BSD-2-Clause
//
// Lists of types by name, read back: the target keeps hashes of names only, so a name is found where a type, or a zone of a program's
// own, has it. That of a type's zone, as "images-128", is found by the type's name and the class.

import Accounting
import Pages
import Primitives

extension SnapshotReader {
  /// The lists in force, by what they are for. A name that no type has shows as "?".
  func readLists(_ root: RootCopy, into snapshot: inout Snapshot) {
    let lists = root.part(TypeNames.self, RootLayout.typeNamesOffset)
    let uses = [NameUse.probes, .redZone, .guards].filter { lists[$0.rawValue].mode == ListMode.listed }
    if uses.isEmpty { return }
    var names: [UInt64: String] = [:]
    for name in snapshot.types.map(\.name) + snapshot.zones.filter({ !$0.isMalloc }).map(\.name) { names[FixedName(cString: name).longHash] = name }
    for use in uses {
      let list = lists[use.rawValue]
      let listed = (0..<min(Int(list.count), TypeNames.most)).map { ListedName(hash: list.hashes[$0], sizeClass: list.classes[$0]) }
      snapshot.lists[use] = Self.text(listed, names)
    }
  }

  /// What may be a zone's name stands in a list twice: as that of a type, and behind it as the zone's.
  static func text(_ listed: [ListedName], _ names: [UInt64: String]) -> String {
    var words: [String] = []
    for name in listed {
      guard 1...SizeClass.count ~= Int(name.sizeClass) else {
        words.append(names[name.hash] ?? "?")
        continue
      }
      if words.last == "?", let type = names[name.hash] { words[words.count - 1] = "\(type)-\(SizeClass.size(Int(name.sizeClass) - 1))" }
    }
    return words.joined(separator: "+")
  }
}
