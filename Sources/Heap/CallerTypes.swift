// SPDX-License-Identifier: BSD-2-Clause
//
// `types:library` and `types:site`: memory is counted for whoever asks, by the return address of the call; where that lies in a
// library that only forwards, by the first address up the stack that does not (Diagnostics). Freed memory goes back to the
// type that its zone belongs to, whoever frees it.
//
// What an address means is found once and kept, in a table of words that each say everything about themselves: the address above
// bit 16, the number of its type below; `walks` there says that the address lies in a forwarder. A hit costs a few loads; with
// forwarders the walk's, some nanoseconds for each frame. The words are dropped when the loader frees memory while it takes libraries
// away, which dlclose makes it do before anything else can lie at the library's addresses: that is what its type is watched for. Where
// types were switched on in a running process, libraries that were there before have memory that nobody watches; then the loader's
// calls are never remembered, and the words are dropped at those that it makes while it adds a library, before that is mapped.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  private static var walks: UInt64 { 0xffff }
  /// Types of call sites at most; all further sites are one type.
  private static var mostSites: Int { 1000 }

  @inline(__always)
  public static var countsForCallers: Bool { heap.pointee.options[.types] != 0 }

  /// The type that a request of this caller is counted for; without one, or if memory for it is not to be had, the hash class that
  /// serves the caller, which is nil for class 0 and without classes. A scope of the thread's wins.
  @inline(__always)
  public static func type(of caller: Frame) -> TypePointer? {
    let scope = scope
    guard countsForCallers else { return scope ?? hashClass(of: caller) }
    let type = knownType(of: caller) ?? findType(of: caller)
    // The loader's memory remains the loader's: its frees say that a library goes.
    guard let scope, type == nil || !type!.pointee.isWatched else { return type ?? hashClass(of: caller) }
    return scope
  }

  /// Words that may tell of an address, side by side: two callers that meet in one word would forget each other at every call.
  private static var ways: Int { 4 }

  @inline(__always)
  private static func words(for address: UInt) -> UnsafeMutablePointer<UInt64> {
    let place = (UInt64(address) &* 0x9E37_79B9_7F4A_7C15) >> (64 - UInt64(STAVE_CALLER_BITS) + 2)
    return stave_caller_types() + Int(place) * ways
  }

  @inline(__always)
  private static func knownNumber(_ address: UInt) -> UInt64? {
    let words = words(for: address)
    for way in 0..<ways {
      let word = stave_load64(words + way)
      if word >> 16 == UInt64(address) { return word & 0xffff }
    }
    return nil
  }

  @inline(__always)
  private static func knownType(of caller: Frame) -> TypePointer? {
    guard let number = knownNumber(caller.pc), number != walks else { return nil }
    return types.type(Int(number))
  }

  private static func remember(_ address: UInt, _ number: UInt64) {
    guard address >> 48 == 0 else { return }
    let words = words(for: address)
    var way = 0
    while way < ways, case let word = stave_load64(words + way), word != 0, word >> 16 != UInt64(address) { way += 1 }
    if way == ways { way = Int(address) & (ways - 1) }
    stave_store64(words + way, UInt64(address) << 16 | number)
  }

  /// Behind dlclose, and where types are to be others: an address may mean something else.
  @inline(never)
  static func forgetCallers() {
    callers.flush()
    for place in 0..<(1 << Int(STAVE_CALLER_BITS)) where stave_load64(stave_caller_types() + place) != 0 {
      stave_store64(stave_caller_types() + place, 0)
    }
  }

  @inline(never)
  private static func findType(of caller: Frame) -> TypePointer? {
    guard heap.isReady || heap.start() else { return nil }
    if knownNumber(caller.pc) == nil {
      guard let module = Module(at: caller.pc &- 1), callers.forwards(module) else { return makeType(at: caller.pc) }
      remember(caller.pc, walks)
    }
    let origin = callers.caller(of: caller, limit: stackLimit(above: caller.sp))
    // Only forwarders: then it is the first one's own, under an address that no call returns to.
    if origin.isForwarder { return Module(at: caller.pc &- 1).flatMap { found($0.start) ?? makeType(of: $0, at: $0.start) } }
    return found(origin.pc) ?? makeType(at: origin.pc)
  }

  private static func found(_ address: UInt) -> TypePointer? {
    guard let number = knownNumber(address), number != walks else { return nil }
    return types.type(Int(number))
  }

  private static func makeType(at pc: UInt) -> TypePointer? { makeType(of: Module(at: pc &- 1), at: pc) }

  private static func makeType(of module: Module?, at address: UInt) -> TypePointer? {
    var isLoader = false
    let name = name(of: module, &isLoader)
    var type: TypePointer?
    if heap.pointee.options[.types] == 2 && !isLoader && module != nil {
      // A site that has a type keeps it, however many have come since.
      let site = name.appending("+", hexadecimal: address &- module!.start)
      type = types.named(site, most: mostSites) ?? types.named(FixedName("other sites"))
    } else {
      type = types.named(name, isWatched: isLoader)
    }
    guard let type else { return nil }
    if isLoader && heap.pointee.watchesLoading {
      if stave_loader_may_change(true) { forgetCallers() }
      return type
    }
    remember(address, UInt64(type.pointee.number))
    return type
  }

  /// The last part of the path, the program's own name for the program, and a name for code without a file.
  static func name(of module: Module?, _ isLoader: inout Bool) -> FixedName {
    guard let module, var path = module.name else { return FixedName("no file") }
    if path.pointee == 0 { return stave_program_name().map { FixedName(cString: $0) } ?? FixedName("program") }
    var next = path
    while next.pointee != 0 {
      if next.pointee == 0x2f { path = next + 1 }
      next += 1
    }
    let name = FixedName(cString: path)
    isLoader = name.hasPrefix("ld-linux") || name.hasPrefix("ld-2") || name.hasPrefix("ld.so")
    return name
  }
}
