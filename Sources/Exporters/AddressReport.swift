// SPDX-License-Identifier: BSD-2-Clause
//
// Whose an address is, in a sentence and as JSON.

import Inspection

public enum AddressReport {
  /// `types`: of the same look, for names.
  public static func line(_ owner: AddressOwner, _ snapshot: Snapshot) -> String {
    let address = owner.address.hexadecimal
    var text = "\(address): "
    switch owner.kind {
    case .item:
      text += "\(place(owner))the item at \(owner.start.hexadecimal) of \(owner.bytes) bytes, number \(owner.index) of \(owner.count) of its slab"
      if let cpu = owner.cpu { text += ", the copy of CPU \(cpu)" }
      text += ", \(owner.state.rawValue), in zone " + owner.zones.joined(separator: " or ")
    case .slab: text += "in a slab, but in no item" + (owner.zones.isEmpty ? "" : ", in zone " + owner.zones.joined(separator: " or "))
    case .large: text += "\(place(owner))the large block at \(owner.start.hexadecimal) of \(owner.bytes) bytes"
    case .free: text += "in the arena, in nobody's hands"
    case .guarded: text += "among the addresses of guarded blocks"
    }
    if let type = type(of: owner, snapshot) { text += ", of type \(type)" }
    return text + ", of \(owner.root)"
  }

  public static func json(_ owner: AddressOwner, _ snapshot: Snapshot) -> JSON {
    var members: [(String, JSON)] = [
      ("address", .text(owner.address.hexadecimal)), ("root", .text(owner.root)), ("kind", .text(owner.kind.rawValue)),
      ("zone", .list(owner.zones.map(JSON.text))), ("type", type(of: owner, snapshot).map(JSON.text) ?? .null),
    ]
    if owner.kind == .item || owner.kind == .large {
      members += [("start", .text(owner.start.hexadecimal)), ("size", .number(owner.bytes)), ("state", .text(owner.state.rawValue))]
    }
    if owner.kind == .item { members += [("number", .number(owner.index)), ("items-per-slab", .number(owner.count)), ("cpu", owner.cpu.map(JSON.number) ?? .null)] }
    return .object(members)
  }

  private static func place(_ owner: AddressOwner) -> String {
    let offset = owner.address &- owner.start
    if offset == 0 { return "" }
    return Int(clamping: offset) < owner.bytes ? "\(offset) bytes into " : "\(Int(clamping: offset) - owner.bytes) bytes behind the end of "
  }

  private static func type(of owner: AddressOwner, _ snapshot: Snapshot) -> String? {
    guard owner.type != 0 else { return nil }
    let main = snapshot.roots.first?.name
    return snapshot.types.first { $0.number == owner.type && ($0.root.isEmpty ? owner.root == main : $0.root == owner.root) }?.label
  }
}
