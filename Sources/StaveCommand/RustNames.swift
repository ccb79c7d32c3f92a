// SPDX-License-Identifier: BSD-2-Clause
//
// Rust's names since 2025 ("v0": https://doc.rust-lang.org/rustc/symbol-mangling/v0.html), written as in a program, without the hashes
// of crates. A name is a tree in prefix form, each node begun by a letter; a part that was there before is named by where it began,
// counted behind "_R". Names come from files that may say anything: depth and length are limited.

import Foundation

/// Nil for what is no such name, or too much of one.
func rustDemangled(_ name: String) -> String? {
  guard name.hasPrefix("_R"), name.utf8.count < 1 << 16 else { return nil }
  // What a compiler adds behind a dot is no part of it.
  var reader = RustName(bytes: Array(name.utf8.dropFirst(2).prefix { $0 != UInt8(ascii: ".") && $0 != UInt8(ascii: "$") }))
  do {
    try reader.path(isValue: true)
    // The crate that asked for this instance.
    if !reader.isAtEnd { try reader.silently { (reader) throws(RustName.Bad) in try reader.path(isValue: false) } }
  } catch { return nil }
  return reader.isAtEnd ? reader.text : nil
}

private struct RustName {
  struct Bad: Error {}

  var bytes: [UInt8]
  var place = 0
  var text = ""
  private var isSilent = false
  private var depth = 0
  private var steps = 0
  /// Lifetimes that binders around this place have named.
  private var bound: UInt64 = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { place == bytes.count }

  // MARK: - Letters and numbers

  private func peek() -> UInt8? { place < bytes.count ? bytes[place] : nil }

  private mutating func take() throws(Bad) -> UInt8 {
    guard let byte = peek() else { throw Bad() }
    place += 1
    return byte
  }

  private mutating func take(_ letter: Unicode.Scalar) -> Bool {
    guard peek() == UInt8(ascii: letter) else { return false }
    place += 1
    return true
  }

  private mutating func write(_ piece: String) throws(Bad) {
    if isSilent { return }
    text += piece
    guard text.utf8.count < 1 << 14 else { throw Bad() }
  }

  /// "_" is 0, and each digit before it counts from 1 on.
  private mutating func base62() throws(Bad) -> UInt64 {
    var value: UInt64 = 0
    if take("_") { return 0 }
    while true {
      let digit: UInt64
      switch try take() {
      case let byte where byte >= 48 && byte <= 57: digit = UInt64(byte) - 48
      case let byte where byte >= 97 && byte <= 122: digit = UInt64(byte) - 97 + 10
      case let byte where byte >= 65 && byte <= 90: digit = UInt64(byte) - 65 + 36
      case 95: return try sum(value, 1)
      default: throw Bad()
      }
      let (product, overflow) = value.multipliedReportingOverflow(by: 62)
      guard !overflow else { throw Bad() }
      value = try sum(product, digit)
    }
  }

  private func sum(_ one: UInt64, _ other: UInt64) throws(Bad) -> UInt64 {
    let (result, overflow) = one.addingReportingOverflow(other)
    guard !overflow else { throw Bad() }
    return result
  }

  /// 0 if there is none.
  private mutating func disambiguator() throws(Bad) -> UInt64 { take("s") ? try sum(base62(), 1) : 0 }

  /// Without its disambiguator.
  private mutating func identifier() throws(Bad) -> String {
    let isPunycode = take("u")
    var length = 0
    let first = try take()
    guard first >= 48, first <= 57 else { throw Bad() }
    length = Int(first) - 48
    if length > 0 {
      while let digit = peek(), digit >= 48, digit <= 57 {
        place += 1
        length = length * 10 + Int(digit) - 48
        guard length <= bytes.count else { throw Bad() }
      }
    }
    _ = take("_")
    guard length <= bytes.count - place else { throw Bad() }
    defer { place += length }
    let word = bytes[place..<place + length]
    guard isPunycode else { return String(decoding: word, as: UTF8.self) }
    guard let decoded = punycode(Array(word)) else { throw Bad() }
    return decoded
  }

  // MARK: - The tree

  /// One step down, or back to a part from before: neither goes on for ever.
  private mutating func deeper(_ body: (inout RustName) throws(Bad) -> Void) throws(Bad) {
    depth += 1
    steps += 1
    guard depth < 200, steps < 1 << 16 else { throw Bad() }
    try body(&self)
    depth -= 1
  }

  mutating func silently(_ body: (inout RustName) throws(Bad) -> Void) throws(Bad) {
    let before = isSilent
    isSilent = true
    try body(&self)
    isSilent = before
  }

  /// Behind "B".
  private mutating func back(_ body: (inout RustName) throws(Bad) -> Void) throws(Bad) {
    let start = place - 1, target = try base62()
    guard target < UInt64(start) else { throw Bad() }
    if isSilent { return }
    let next = place
    place = Int(target)
    try deeper(body)
    place = next
  }

  /// `isValue`: of a function or variable, where generic arguments stand behind "::".
  mutating func path(isValue: Bool) throws(Bad) {
    try deeper { (reader) throws(Bad) in
      let letter = try reader.take()
      switch letter {
      case UInt8(ascii: "C"):
        _ = try reader.disambiguator()
        try reader.write(try reader.identifier())
      case UInt8(ascii: "N"): try reader.nested(isValue)
      case UInt8(ascii: "M"), UInt8(ascii: "X"), UInt8(ascii: "Y"):
        if letter != UInt8(ascii: "Y") {
          // Where the impl stands.
          _ = try reader.disambiguator()
          try reader.silently { (reader) throws(Bad) in try reader.path(isValue: false) }
        }
        try reader.write("<")
        try reader.type()
        if letter != UInt8(ascii: "M") {
          try reader.write(" as ")
          try reader.path(isValue: false)
        }
        try reader.write(">")
      case UInt8(ascii: "I"):
        try reader.path(isValue: isValue)
        try reader.write(isValue ? "::<" : "<")
        try reader.list { (reader) throws(Bad) in try reader.genericArgument() }
        try reader.write(">")
      case UInt8(ascii: "B"): try reader.back { (reader) throws(Bad) in try reader.path(isValue: isValue) }
      default: throw Bad()
      }
    }
  }

  private mutating func nested(_ isValue: Bool) throws(Bad) {
    let space = try take()
    guard space >= 65 && space <= 90 || space >= 97 && space <= 122 else { throw Bad() }
    try path(isValue: isValue)
    let number = try disambiguator(), name = try identifier()
    if space >= 97 { return try write(name.isEmpty ? "" : "::" + name) }
    // What has no name in the program.
    let kind = space == UInt8(ascii: "C") ? "closure" : space == UInt8(ascii: "S") ? "shim" : String(UnicodeScalar(space))
    try write("::{\(kind)\(name.isEmpty ? "" : ":" + name)#\(number)}")
  }

  /// Up to "E"; how many there were.
  @discardableResult
  private mutating func list(between: String = ", ", _ item: (inout RustName) throws(Bad) -> Void) throws(Bad) -> Int {
    var count = 0
    while !take("E") {
      if count > 0 { try write(between) }
      try item(&self)
      count += 1
    }
    return count
  }

  private mutating func genericArgument() throws(Bad) {
    if take("L") { return try lifetime() }
    if take("K") { return try constant() }
    try type()
  }

  /// Behind "L": 0 is none, others count from the innermost binder outwards.
  private mutating func lifetime() throws(Bad) {
    let index = try base62()
    guard index > 0 else { return try write("'_") }
    guard index <= bound else { throw Bad() }
    try write(Self.lifetimeName(bound - index))
  }

  private static func lifetimeName(_ depth: UInt64) -> String { depth < 26 ? "'\(UnicodeScalar(UInt8(97 + depth)))" : "'z\(depth - 25)" }

  private mutating func binder(_ body: (inout RustName) throws(Bad) -> Void) throws(Bad) {
    let before = bound
    if take("G") {
      let count = try sum(base62(), 1)
      guard count < 1000 else { throw Bad() }
      if !isSilent { try write("for<" + (0..<count).map { Self.lifetimeName(bound + $0) }.joined(separator: ", ") + "> ") }
      bound += count
    }
    try body(&self)
    bound = before
  }

  private static let basic: [UInt8: String] = Dictionary(
    uniqueKeysWithValues: zip(
      "abcdefhijlmnopstuvxyz".utf8,
      ["i8", "bool", "char", "f64", "str", "f32", "u8", "isize", "usize", "i32", "u32", "i128", "u128", "_", "i16", "u16", "()", "...", "i64", "u64", "!"]))

  private mutating func type() throws(Bad) {
    guard let letter = peek() else { throw Bad() }
    if let name = Self.basic[letter] {
      place += 1
      return try write(name)
    }
    guard "ASTRQPOFDB".utf8.contains(letter) else { return try path(isValue: false) }
    place += 1
    try deeper { (reader) throws(Bad) in
      switch UnicodeScalar(letter) {
      case "A", "S":
        try reader.write("[")
        try reader.type()
        if letter == UInt8(ascii: "A") {
          try reader.write("; ")
          try reader.constant()
        }
        try reader.write("]")
      case "T":
        try reader.write("(")
        let count = try reader.list { (reader) throws(Bad) in try reader.type() }
        try reader.write(count == 1 ? ",)" : ")")
      case "R", "Q":
        try reader.write("&")
        if reader.take("L") {
          let start = reader.place
          if try reader.base62() > 0 {
            reader.place = start
            try reader.lifetime()
            try reader.write(" ")
          }
        }
        try reader.write(letter == UInt8(ascii: "Q") ? "mut " : "")
        try reader.type()
      case "P", "O":
        try reader.write(letter == UInt8(ascii: "P") ? "*const " : "*mut ")
        try reader.type()
      case "F": try reader.binder { (reader) throws(Bad) in try reader.signature() }
      case "D": try reader.dynamic()
      default: try reader.back { (reader) throws(Bad) in try reader.type() }
      }
    }
  }

  private mutating func signature() throws(Bad) {
    if take("U") { try write("unsafe ") }
    if take("K") {
      let abi = take("C") ? "C" : try identifier().replacing("_", with: "-")
      try write("extern \"\(abi)\" ")
    }
    try write("fn(")
    try list { (reader) throws(Bad) in try reader.type() }
    try write(")")
    if take("u") { return }
    try write(" -> ")
    try type()
  }

  private mutating func dynamic() throws(Bad) {
    try write("dyn ")
    try binder { (reader) throws(Bad) in try reader.list(between: " + ") { (reader) throws(Bad) in try reader.trait() } }
    guard take("L") else { throw Bad() }
    let start = place
    guard try base62() > 0 else { return }
    place = start
    try write(" + ")
    try lifetime()
  }

  /// A path whose last generic arguments may be followed by types that are bound by name.
  private mutating func trait() throws(Bad) {
    let start = text.endIndex
    try path(isValue: false)
    var isOpen = false
    while take("p") {
      if isOpen {
        try write(", ")
      } else if !isSilent, text[start...].hasSuffix(">") {
        text.removeLast()
        try write(", ")
      } else {
        try write("<")
      }
      isOpen = true
      try write(try identifier() + " = ")
      try type()
    }
    if isOpen { try write(">") }
  }

  private mutating func constant() throws(Bad) {
    try deeper { (reader) throws(Bad) in
      if reader.take("B") { return try reader.back { (reader) throws(Bad) in try reader.constant() } }
      if reader.take("p") { return try reader.write("_") }
      let kind = try reader.take()
      guard let type = Self.basic[kind] else { throw Bad() }
      let sign = reader.take("n") ? "-" : ""
      var digits = ""
      while let byte = reader.peek(), byte != UInt8(ascii: "_") {
        guard digits.utf8.count < 32, byte >= 48 && byte <= 57 || byte >= 97 && byte <= 102 else { throw Bad() }
        digits.unicodeScalars.append(UnicodeScalar(byte))
        reader.place += 1
      }
      guard reader.take("_"), let value = digits.isEmpty ? 0 : UInt128(digits, radix: 16) else { throw Bad() }
      switch type {
      case "bool":
        guard value < 2 else { throw Bad() }
        try reader.write(value == 1 ? "true" : "false")
      case "char":
        guard let scalar = UInt32(exactly: value).flatMap(UnicodeScalar.init) else { throw Bad() }
        try reader.write("'\(scalar.escaped(asASCII: false))'")
      default: try reader.write(sign + String(value))
      }
    }
  }

  /// RFC 3492, with "_" before the digits in place of "-".
  private func punycode(_ word: [UInt8]) -> String? {
    let split = word.lastIndex(of: UInt8(ascii: "_"))
    var scalars = word[..<(split ?? 0)].map { UnicodeScalar($0) }
    var index = 0, code = 128, bias = 72, isFirst = true
    var rest = word[(split.map { $0 + 1 } ?? 0)...]
    while !rest.isEmpty {
      let before = index
      var weight = 1, step = 36
      while true {
        guard let byte = rest.popFirst() else { return nil }
        let digit = byte >= 97 && byte <= 122 ? Int(byte) - 97 : byte >= 48 && byte <= 57 ? Int(byte) - 22 : 36
        guard digit < 36, weight < 1 << 32 else { return nil }
        index += digit * weight
        let threshold = min(max(step - bias, 1), 26)
        if digit < threshold { break }
        weight *= 36 - threshold
        step += 36
      }
      let count = scalars.count + 1
      var delta = (index - before) / (isFirst ? 700 : 2)
      delta += delta / count
      var turns = 0
      while delta > 455 {
        delta /= 35
        turns += 36
      }
      bias = turns + 36 * delta / (delta + 38)
      isFirst = false
      code += index / count
      index %= count
      guard code < 0x11_0000, let scalar = UnicodeScalar(UInt32(code)) else { return nil }
      scalars.insert(scalar, at: index)
      index += 1
    }
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    return String(text)
  }
}
