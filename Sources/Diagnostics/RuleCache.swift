// SPDX-License-Identifier: BSD-2-Clause
//
// What is known of an address of code, kept in a table of single words, so that threads read and write it with plain loads and
// stores: a word that does not say exactly what is looked for does not match. Which word is chosen by the last 12 bits of the
// address, crossed with the 12 before them; with the word's own place, bits 12 to 46 tell an address below 2^47 from all others.
//
//   bits 29–63  bits 12–46 of the address
//   bit  28     there is something here
//   bits 23–27  generation: what was stored before the last flush does not match, even if its writer stores it only now
//   bits 1–22   the rule
//   bit  0      the module only forwards

import CPlatform

/// What is known of an address that a call returns to.
struct CodePlace: Equatable {
  let bits: UInt32

  @inline(__always) init(bits: UInt32) { self.bits = bits }
  init(_ rule: FrameRule, forwards: Bool) { bits = rule.bits << 1 | (forwards ? 1 : 0) }

  /// Outside all modules.
  static var unknown: CodePlace { CodePlace(bits: 0) }

  @inline(__always) var rule: FrameRule { FrameRule(bits: bits >> 1) }
  @inline(__always) var forwards: Bool { bits & 1 != 0 }
}

extension UnsafeMutablePointer where Pointee == stave_callers {
  @inline(__always) var ruleWords: UnsafeMutablePointer<UInt64> { stave_rule_words(self) }
  @inline(__always) var moduleWords: UnsafeMutablePointer<UInt64> { stave_module_words(self) }

  /// Everything that is known was learnt of modules that may be gone: forgets it. After dlclose, and after `skip` has changed.
  /// Any thread, at any time; what others are just finding out is forgotten, too. 1 µs.
  public func flush() {
    stave_add64(&pointee.generation, 1)
    for index in 0..<(1 << Int(STAVE_RULE_BITS)) { stave_store64(ruleWords + index, 0) }
    for index in 0..<(1 << Int(STAVE_MODULE_BITS)) { stave_store64(moduleWords + index, 0) }
  }

  /// What is known of the code before `pc`, an address that a call returns to: the call is the last thing of its function that
  /// is certain to be there. 2 to 4 ns when known, 100 and more when not.
  @inline(__always)
  func place(of pc: UInt) -> CodePlace {
    let (index, key) = ruleKey(pc)
    let difference = stave_load64(ruleWords + index) ^ key
    if difference >> 23 == 0 && pc >> 47 == 0 { return CodePlace(bits: UInt32(truncatingIfNeeded: difference)) }
    return findPlace(pc, index, key)
  }

  @inline(__always)
  func ruleKey(_ pc: UInt) -> (index: Int, key: UInt64) {
    let generation = stave_load64(&pointee.generation) & 31
    let page = pc >> 12
    return (Int((pc ^ page) & 0xfff), UInt64(page) << 29 | 1 << 28 | generation << 23)
  }

  /// Learns it. What lies outside all modules is not kept, since a module may come there.
  @inline(never)
  func findPlace(_ pc: UInt, _ index: Int, _ key: UInt64) -> CodePlace {
    guard pc >> 47 == 0, let module = Module(at: pc &- 1) else { return .unknown }
    let place = CodePlace(module.rule(at: pc &- 1), forwards: forwards(module))
    stave_store64(ruleWords + index, key | UInt64(place.bits))
    return place
  }
}
