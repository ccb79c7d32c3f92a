// SPDX-License-Identifier: BSD-2-Clause
//
// A type's gate: threads on the slow paths of a type's memory are inside it meanwhile. One word: how many there are, in its low
// half, and above that what they have to do. So who changes what is to be done, or ends the type, can wait until nobody does the old
// thing. Going in and out is an atomic addition each, on slow paths only; nobody waits at the gate but while an account is opened.

import CPlatform
import Primitives
import Synchronization

enum Gate {
  static var opening: Int64 { 1 }
  static var accounted: Int64 { 2 }
  static var oneMode: Int64 { 1 << 32 }
  static var threads: Int64 { oneMode - 1 }
}

extension UnsafeMutablePointer where Pointee == TypeRecord {
  /// Whether requests and frees are charged to an account.
  public var hasAccount: Bool { Int64(bitPattern: stave_load64(&pointee.gate)) >> 32 == Gate.accounted }

  /// This thread is inside until `leave`; whether the type has an account. Holding no lock.
  @inline(__always)
  func enter() -> Bool {
    while true {
      let mode = stave_add_fetching(&pointee.gate, 1) >> 32
      if mode != Gate.opening { return mode == Gate.accounted }
      leave()
      _ = stave_yield()
    }
  }

  @inline(__always)
  func leave() { _ = stave_add_fetching(&pointee.gate, -1) }

  var isEmpty: Bool { Int64(bitPattern: stave_load64(&pointee.gate)) & Gate.threads == 0 }

  /// Until everybody has left who is inside now. Not from inside.
  func waitUntilEmpty() {
    while !isEmpty { _ = stave_yield() }
  }

  /// Under the types' lock.
  func setMode(_ mode: Int64) {
    _ = stave_add_fetching(&pointee.gate, (mode - Int64(bitPattern: stave_load64(&pointee.gate)) >> 32) * Gate.oneMode)
  }

  /// In the child of a fork: of those inside only the thread that forked is there, and it is at no gate.
  func emptyInChild() {
    pointee.gate &= ~Gate.threads
    pointee.sleepers = 0
  }
}
