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
    case .guarded:
      text += "\(place(owner))the guarded block at \(owner.start.hexadecimal) of \(owner.bytes) bytes, \(owner.state.rawValue)"
      if let zone = owner.zones.first { text += ", an item of zone \(zone)" }
    case .guards: text += "among the addresses of guarded blocks, of none that is known"
    }
    if let type = type(of: owner, snapshot) { text += ", of type \(type)" }
    return text + ", of \(owner.root)"
  }

  /// A guarded block's stacks, with what `stack` says of a stack's number: a line for each frame.
  public static func stacks(_ owner: AddressOwner, stack: (UInt32) -> [String]) -> [String] {
    [("  allocated by", owner.allocationStack), ("  freed by", owner.freeStack)].flatMap { title, number in
      let frames = number == 0 ? [] : stack(number)
      return frames.isEmpty ? [] : [title] + frames.map { "  " + $0 }
    }
  }

  public static func json(_ owner: AddressOwner, _ snapshot: Snapshot, stack: (UInt32) -> [String] = { _ in [] }) -> JSON {
    var members: [(String, JSON)] = [
      ("address", .text(owner.address.hexadecimal)), ("root", .text(owner.root)), ("kind", .text(owner.kind.rawValue)),
      ("zone", .list(owner.zones.map(JSON.text))), ("type", type(of: owner, snapshot).map(JSON.text) ?? .null),
    ]
    if [.item, .large, .guarded].contains(owner.kind) {
      members += [("start", .text(owner.start.hexadecimal)), ("size", .number(owner.bytes)), ("state", .text(owner.state.rawValue))]
    }
    if owner.kind == .item { members += [("number", .number(owner.index)), ("items-per-slab", .number(owner.count)), ("cpu", owner.cpu.map(JSON.number) ?? .null)] }
    if owner.kind == .guarded {
      members += [("allocated-by", .list(stack(owner.allocationStack).map(JSON.text))), ("freed-by", .list(stack(owner.freeStack).map(JSON.text)))]
    }
    return .object(members)
  }

  private static func place(_ owner: AddressOwner) -> String {
    let offset = owner.address &- owner.start
    if offset == 0 { return "" }
    if owner.address < owner.start { return "\(owner.start - owner.address) bytes before " }
    return Int(clamping: offset) < owner.bytes ? "\(offset) bytes into " : "\(Int(clamping: offset) - owner.bytes) bytes behind the end of "
  }

  private static func type(of owner: AddressOwner, _ snapshot: Snapshot) -> String? {
    guard owner.type != 0 else { return nil }
    let main = snapshot.roots.first?.name
    return snapshot.types.first { $0.number == owner.type && ($0.root.isEmpty ? owner.root == main : $0.root == owner.root) && (owner.typeHash == 0 || owner.typeHash == $0.nameHash) }?.label
  }
}
