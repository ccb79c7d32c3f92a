// SPDX-License-Identifier: BSD-2-Clause
//
// Whether a module only forwards, by the name of its file: one from the list below, or one that the user has named
// (`types:skip=a+b`). A name stands for files that begin with it and do not go on with a letter, digit, underscore or plus sign,
// thus for all versions: libssl for libssl.so.3, and libc.so not for libcurl.so.4. A star at its end stands for anything.
//
// Answers are kept per module, by the address where it begins, in a table of single words like that of the rules:
//
//   bits 12–46  address of the page where the module begins
//   bit  6      there is something here
//   bits 1–5    generation
//   bit  0      forwards

import CPlatform

enum ForwardingList {
  static var count: Int { 11 }

  static func name(_ index: Int) -> StaticString {
    switch index {
    case 0: "libc.so"
    case 1: "libc-2"
    case 2: "libstave"
    case 3: "libstdc++"
    case 4: "libc++"
    case 5: "libc++abi"
    case 6: "libswiftCore"
    case 7: "libFoundation*"
    case 8: "lib_FoundationICU"
    case 9: "libglib-2"
    default: "libgobject-2"
    }
  }

  /// Whether the file that `path` leads to has a name on the list, or among `others`, which are separated by plus signs.
  static func contains(_ path: UnsafePointer<UInt8>, others: UnsafePointer<UInt8>?, _ othersCount: Int) -> Bool {
    var file = path
    var end = path
    // No path is longer.
    while end.pointee != 0 && end - path < 4096 {
      if end.pointee == 0x2f { file = end + 1 }
      end += 1
    }
    for index in 0..<count {
      let name = name(index)
      if matches(file, end, name.utf8Start, name.utf8CodeUnitCount) { return true }
    }
    guard let others else { return false }
    var start = 0
    while start < othersCount {
      var stop = start
      // The last of some signs in a row separates: libstdc+++libssl names two.
      while stop < othersCount && !(others[stop] == 0x2b && stop + 1 < othersCount && others[stop + 1] != 0x2b) { stop += 1 }
      if matches(file, end, others + start, stop - start) { return true }
      start = stop + 1
    }
    return false
  }

  /// Whether the file from `file` to `end` is one that the name stands for.
  private static func matches(_ file: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ name: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    let isOpen = count > 0 && name[count - 1] == 0x2a
    let length = isOpen ? count - 1 : count
    guard count > 0, end - file >= length else { return false }
    for index in 0..<length where file[index] != name[index] { return false }
    guard !isOpen, end - file > length else { return true }
    switch file[length] {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x5f, 0x2b: return false
    default: return true
    }
  }
}

extension UnsafeMutablePointer where Pointee == stave_callers {
  /// Names of further modules to walk through, separated by plus signs. The text stays the caller's, must not change, and is used
  /// from now on. Before the first walk, or followed by `flush`.
  public func skip(_ names: UnsafePointer<UInt8>?, count: Int) {
    pointee.skip = names
    pointee.skip_count = UInt64(count)
  }

  /// Whether the module only forwards. A few loads when known; some 200 ns when not.
  public func forwards(_ module: Module) -> Bool {
    let page = UInt64(module.start >> 12)
    let word = moduleWords + Int((page &* 0x9E37_79B9_7F4A_7C15) >> (64 - UInt64(STAVE_MODULE_BITS)))
    let key = page << 12 | 1 << 6 | (stave_load64(&pointee.generation) & 31) << 1
    let difference = stave_load64(word) ^ key
    if difference >> 1 == 0 { return difference != 0 }
    guard let name = module.name else { return false }
    let path = UnsafeRawPointer(name).assumingMemoryBound(to: UInt8.self)
    let forwards = ForwardingList.contains(path, others: pointee.skip, Int(pointee.skip_count))
    stave_store64(word, key | (forwards ? 1 : 0))
    return forwards
  }
}
