// SPDX-License-Identifier: BSD-2-Clause
//
// Names of functions as their languages write them: Swift's by its runtime, C++'s by its library where that can be loaded, Rust's
// newer ones by RustNames, older ones from what C++'s says. What is none of these, or is not understood, stays as it is.

import Glibc

@_silgen_name("swift_demangle")
private func swiftDemangle(
  _ name: UnsafePointer<CChar>?, _ length: UInt, _ output: UnsafeMutablePointer<CChar>?, _ outputLength: UnsafeMutablePointer<UInt>?, _ flags: UInt32
) -> UnsafeMutablePointer<CChar>?

private typealias CxxDemangle = @convention(c) (
  UnsafePointer<CChar>?, UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>?, UnsafeMutablePointer<Int32>?
) -> UnsafeMutablePointer<CChar>?

private let cxxDemangle: CxxDemangle? = {
  guard let library = dlopen("libstdc++.so.6", RTLD_NOW) ?? dlopen("libc++abi.so.1", RTLD_NOW), let function = dlsym(library, "__cxa_demangle") else { return nil }
  return unsafeBitCast(function, to: CxxDemangle.self)
}()

func demangled(_ name: String) -> String {
  if name.hasPrefix("$s") || name.hasPrefix("$S") || name.hasPrefix("_$s") || name.hasPrefix("$e") {
    return take(swiftDemangle(name, UInt(name.utf8.count), nil, nil, 0)) ?? name
  }
  if name.hasPrefix("_Z"), let text = take(cxxDemangle?(name, nil, nil, nil)) { return withoutRust(text) }
  return rustDemangled(name) ?? name
}

/// The library's memory becomes a string.
private func take(_ text: UnsafeMutablePointer<CChar>?) -> String? {
  guard let text else { return nil }
  defer { free(text) }
  return String(cString: text)
}

/// Rust's names end in a hash, "::h" and 16 digits, and have signs written out.
private func withoutRust(_ text: String) -> String {
  guard let end = text.range(of: "::h", from: -19), text[end...].dropFirst(3).allSatisfy(\.isHexDigit) else { return text }
  var name = String(text[..<end])
  for (word, sign) in [("$LT$", "<"), ("$GT$", ">"), ("$RF$", "&"), ("$BP$", "*"), ("$LP$", "("), ("$RP$", ")"), ("$C$", ","), ("$u20$", " "), ("$u7b$", "{"), ("$u7d$", "}"), ("..", "::")] {
    name = name.split(separator: word, omittingEmptySubsequences: false).joined(separator: sign)
  }
  return name.hasPrefix("_<") ? String(name.dropFirst()) : name
}

extension String {
  /// Where `word` begins that many characters from the end.
  fileprivate func range(of word: String, from distance: Int) -> Index? {
    guard let start = index(endIndex, offsetBy: distance, limitedBy: startIndex), self[start...].hasPrefix(word) else { return nil }
    return start
  }
}
