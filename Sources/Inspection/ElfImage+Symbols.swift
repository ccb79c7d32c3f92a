// SPDX-License-Identifier: BSD-2-Clause
//
// Looking up one exported symbol in an image's memory, the way the dynamic loader does: by DT_GNU_HASH (a Bloom filter
// rejects almost every image that does not have the symbol, after reading six words), or by the older DT_HASH.

extension ElfImage {
  /// Where the image defines the dynamic symbol `name`; nil if it does not, or has no dynamic symbols. A hidden version
  /// counts like any other. Throws only what reading throws.
  func address(ofDynamicSymbol name: String) throws(InspectionError) -> UInt? {
    let entries = try dynamicEntries()
    guard let symbols = entries[Elf.tagSymbols].flatMap(resolve), let strings = entries[Elf.tagStrings].flatMap(resolve) else {
      return nil
    }
    let table = Table(symbols: symbols, strings: strings, stringBytes: entries[Elf.tagStringBytes] ?? 0, name: Array(name.utf8))
    let found: ElfSymbol?
    if let hash = entries[Elf.tagGnuHash].flatMap(resolve) {
      found = try lookUp(table, inGnuHashAt: hash)
    } else if let hash = entries[Elf.tagHash].flatMap(resolve) {
      found = try lookUp(table, inHashAt: hash)
    } else {
      return nil
    }
    return found.map { $0.section == Elf.absoluteSection ? UInt($0.value) : address(of: $0.value) }
  }

  private struct Table {
    var symbols: UInt
    var strings: UInt
    var stringBytes: UInt64
    var name: [UInt8]
  }

  /// Symbol `index` if it is defined and has the wanted name.
  private func match(_ table: Table, _ index: UInt32) throws(InspectionError) -> ElfSymbol? {
    let symbol = try target.read(ElfSymbol.self, at: table.symbols &+ UInt(index) * UInt(ElfSymbol.bytes))
    guard symbol.section != Elf.undefinedSection, table.stringBytes == 0 || UInt64(symbol.name) < table.stringBytes else {
      return nil
    }
    let limit = table.name.count + 1
    let found = try? target.readArray(UInt8.self, at: table.strings &+ UInt(symbol.name), count: limit, limit: limit)
    guard let found, found.last == 0, found.dropLast().elementsEqual(table.name) else { return nil }
    return symbol
  }

  // Header: buckets, first symbol in the table, words of the Bloom filter, its second shift. Then the filter (64-bit
  // words), the buckets (first symbol of each chain), the chains (one hash per symbol, lowest bit: last of its chain).
  private func lookUp(_ table: Table, inGnuHashAt start: UInt) throws(InspectionError) -> ElfSymbol? {
    let header = try target.read(InlineArray<4, UInt32>.self, at: start)
    let (buckets, firstSymbol, filterWords, shift) = (header[0], header[1], header[2], header[3])
    guard buckets > 0, filterWords > 0, filterWords & (filterWords - 1) == 0, shift < 32 else { return nil }
    var hash: UInt32 = 5381
    for byte in table.name { hash = hash &* 33 &+ UInt32(byte) }

    let filter = start &+ 16
    let word = try target.read(UInt64.self, at: filter &+ UInt(hash / 64 & (filterWords - 1)) * 8)
    guard word >> UInt64(hash & 63) & 1 == 1, word >> UInt64((hash >> shift) & 63) & 1 == 1 else { return nil }

    let bucketTable = filter &+ UInt(filterWords) * 8
    var index = try target.read(UInt32.self, at: bucketTable &+ UInt(hash % buckets) * 4)
    guard index >= firstSymbol else { return nil }
    let chains = bucketTable &+ UInt(buckets) * 4
    // Chains have a handful of members; one of thousands is garbage.
    for _ in 0..<4096 {
      let member = try target.read(UInt32.self, at: chains &+ UInt(index - firstSymbol) * 4)
      if member | 1 == hash | 1, let symbol = try match(table, index) { return symbol }
      if member & 1 == 1 || index == UInt32.max { return nil }
      index += 1
    }
    return nil
  }

  // Header: buckets, chains. Then the buckets and one link per symbol; symbol 0 ends a chain.
  private func lookUp(_ table: Table, inHashAt start: UInt) throws(InspectionError) -> ElfSymbol? {
    let header = try target.read(InlineArray<2, UInt32>.self, at: start)
    let (buckets, chains) = (header[0], header[1])
    guard buckets > 0 else { return nil }
    var hash: UInt32 = 0
    for byte in table.name {
      hash = hash << 4 &+ UInt32(byte)
      hash ^= (hash & 0xf000_0000) >> 24
      hash &= 0x0fff_ffff
    }
    var index = try target.read(UInt32.self, at: start &+ 8 &+ UInt(hash % buckets) * 4)
    for _ in 0..<min(chains, 4096) {
      guard index != 0, index < chains else { return nil }
      if let symbol = try match(table, index) { return symbol }
      index = try target.read(UInt32.self, at: start &+ 8 &+ (UInt(buckets) + UInt(index)) * 4)
    }
    return nil
  }
}
