// SPDX-License-Identifier: BSD-2-Clause
//
// Who shares a hash class with a malloc type, as the kernel debugger's show multizone_matches has it: the types of its class, and the
// places in the program whose memory without a type is the class's. For `malloc`, which is the memory without a type: all classes.

import Inspection

public struct HashClassTable {
  public enum Kind: String, Sendable { case type, site }

  public struct Row: Equatable, Sendable {
    public var hashClass: Int
    public var kind: Kind
    public var name: String

    public init(_ hashClass: Int, _ kind: Kind, _ name: String) { (self.hashClass, self.kind, self.name) = (hashClass, kind, name) }
  }

  public let count: Int
  public let offset: Int
  /// The type's own; nil for memory without a type, which is of all classes.
  public let own: Int?
  /// By class, types first; the type itself is among them.
  public let rows: [Row]

  /// Nil without hash classes. `site` says what lies at an address of code.
  public init?(_ type: TypeSnapshot, in snapshot: Snapshot, _ look: HashClassLook, site: (UInt) -> String) {
    guard look.count > 1 else { return nil }
    (count, offset) = (look.count, look.offset)
    let own = type.number == 0 ? nil : type.hashClass
    self.own = own
    let classes = own.map { $0..<$0 + 1 } ?? 0..<look.count
    rows = classes.flatMap { one in
      snapshot.types.filter { $0.number != 0 && $0.root == type.root && $0.hashClass == one }.map { Row(one, .type, $0.label) }
        + look.sites.filter { $0.hashClass == one }.map { Row(one, .site, site($0.address)) }
    }
  }

  public var table: TextTable {
    var table = TextTable(["Hash class", "Of", "Kind", "Shared by"])
    table.leftColumns = [0, 2, 3]
    table.rows = rows.map { ["\($0.hashClass)", "\(count)", $0.kind.rawValue, $0.name] }
    return table
  }

  public var json: JSON {
    .object([
      ("numzones", .number(count)), ("zone-offset", .number(offset)), ("class", own.map(JSON.number) ?? .null),
      ("shared-by", .list(rows.map { .object([("class", .number($0.hashClass)), ($0.kind.rawValue, .text($0.name))]) })),
    ])
  }
}

extension TextTable {
  /// An object for each row: its cells by the names of the columns, which are written small and with hyphens. Whole numbers are
  /// numbers; KiB, as in "12K", are text.
  public var json: JSON {
    let keys = header.map { $0.lowercased().replacing(" ", with: "-") }
    return .list(rows.map { row in .object(zip(keys, row).map { ($0, Int($1).map(JSON.number) ?? .text($1)) }) })
  }
}
