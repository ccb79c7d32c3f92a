// SPDX-License-Identifier: BSD-2-Clause
//
// For which types the probes of malloc and free fire, and what they say of one.

import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == TypesState {
  /// The name that probes show, its address, and the number; nil where they are to be silent. What an ended type has left is memory
  /// without a type.
  @inline(__always)
  public func traced(_ number: UInt32) -> (name: UInt, number: UInt32)? {
    guard number != 0, let type = type(Int(number)), !type.pointee.isEnded else {
      return choice(of: nil, for: .probes) == Choice.all ? (UInt(bitPattern: stave_plain_type_name()), 0) : nil
    }
    guard choice(of: type, for: .probes) == Choice.all else { return nil }
    return withUnsafeMutablePointer(to: &type.pointee.name) { (UInt(bitPattern: $0), number) }
  }
}
