// SPDX-License-Identifier: BSD-2-Clause
//
// `numzones`: which hash class (Accounting/HashClasses) serves a request without a type. It goes by who asks: the place that the call
// returns to, or, where that lies in a library that only forwards, the first one up the stack that does not, as `types:site` has it.
//
// While classes are on, malloc's first try is closed, as it is by a scope, and each request goes one step further: to the class's cell.
// A free is what it always is. A word of the table of sites is found in a few loads; what has none costs some 50 ns.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives

extension Heap {
  /// Called once, when the options are known. Blocks from before are of class 0.
  static func startHashClasses() {
    let count = heap.pointee.options[.numzones]
    if heap.pointee.options[.zoneOffset] < 0 { heap.pointee.options.values[Option.zoneOffset.rawValue] = count > 1 ? drawnOffset() : 0 }
    guard count > 1 else { return }
    guard hashClasses.start(count: Int(count), offset: UInt32(truncatingIfNeeded: heap.pointee.options[.zoneOffset])) else {
      heap.pointee.options.values[Option.numzones.rawValue] = 1
      var report = Report("options")
      report.text("no memory for numzones; it is 1\n")
      return report.write()
    }
    // From here on each request is looked at.
    stave_hot().pointee.scopes = 1
  }

  private static func drawnOffset() -> Int64 {
    var drawn: UInt64 = 0
    if stave_getrandom(&drawn, 8) != 8 { drawn = UInt64(truncatingIfNeeded: stave_nanoseconds()) &* 0x9E37_79B9_7F4A_7C15 }
    return Int64(drawn >> 32)
  }

  /// The record of this caller's class; nil for class 0, and where there are none.
  @inline(__always)
  static func hashClass(of caller: Frame) -> TypePointer? { hashClasses.isOn ? classRecord(of: caller) : nil }

  @inline(never)
  private static func classRecord(of caller: Frame) -> TypePointer? {
    let known = hashClasses.known(caller.pc)
    let index = known == nil || known == HashClasses.forwards ? findClass(of: caller, isNew: known == nil) : known!
    return hashClasses.record(Int(index))
  }

  private static func findClass(of caller: Frame, isNew: Bool) -> UInt64 {
    if isNew {
      guard let module = Module(at: caller.pc &- 1), callers.forwards(module) else { return makeClass(at: caller.pc) }
      hashClasses.remember(caller.pc, HashClasses.forwards)
    }
    let origin = callers.caller(of: caller, limit: stackLimit(above: caller.sp))
    // Only forwarders: it is the first one's.
    if origin.isForwarder { return hashedClass(at: caller.pc) }
    if let known = hashClasses.known(origin.pc), known != HashClasses.forwards { return known }
    return makeClass(at: origin.pc)
  }

  private static func makeClass(at pc: UInt) -> UInt64 {
    let index = hashedClass(at: pc)
    hashClasses.remember(pc, index)
    return index
  }

  /// Of code without a file, by its address.
  private static func hashedClass(at pc: UInt) -> UInt64 {
    var isLoader = false
    let module = Module(at: pc &- 1)
    let name = module == nil ? 0 : name(of: module, &isLoader).longHash
    let place = UInt64(pc &- (module?.start ?? 0))
    return UInt64(HashClass.index(ofPlace: place, inFile: name, offset: hashClasses.pointee.offset, count: hashClasses.pointee.count))
  }
}
