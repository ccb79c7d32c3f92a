// SPDX-License-Identifier: BSD-2-Clause
//
// Lists of types by name, read back: the target keeps hashes of names only, so a name is found where a type, or a zone of a program's
// own, has it. That of a type's zone, as "images-128", is found by the type's name and the class.

import Accounting
import Pages
import Primitives

extension Snapshot {
  /// Whether a type, or with `zones` a zone of a program's own, has a name that an option's list may have: its own or, of a type, with
  /// a class, as "images-128". Of several copies of Stave it is asked of the first.
  public func knows(_ listed: [ListedName], zones takesZones: Bool) -> Bool {
    let types = Set(types.filter(\.root.isEmpty).map { FixedName(cString: $0.name).longHash })
    let zones = takesZones ? Set(zones.filter { !$0.isMalloc && $0.root.isEmpty }.map { FixedName(cString: $0.name).longHash }) : []
    return listed.contains { types.contains($0.hash) || $0.sizeClass == 0 && zones.contains($0.hash) }
  }
}

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
