// SPDX-License-Identifier: BSD-2-Clause
//
// The one list of options. `STAVE_OPTIONS=key:value,key:value` and `STAVE_<KEY>=value` set them; the environment of a
// program that runs with more rights than its caller is ignored. An unknown key is named once, with the nearest known one.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives

public enum Option: Int, Sendable {
  case percpu, verbose, stats, background, period, inspect, hugepages, failureRate, types, sizes
  case kmemSize, kmemSizeMin, kmemSizeMax, kmemSizeScale
  case probes, otelRate
  case memguard, memguardType, memguardMin, memguardMax, memguardPages, memguardNoFree, memguardSide, memguardWidth, memguardDivisor
  case report, onreport, stacks
  case check, checkDivisor
  case redZone, redZoneType, redZonePanic
  case numzones, zoneOffset
  case leaks
  case domains
  case zoneWarnings
  case nmbufs, nmbclusters, nmbjumbop, nmbjumbo9, nmbjumbo16

  public static var count: Int { nmbjumbo16.rawValue + 1 }

  /// The key, as users write it.
  public var key: StaticString {
    switch self {
    case .percpu: "percpu"
    case .verbose: "verbose"
    case .stats: "stats"
    case .background: "background"
    case .period: "period"
    case .inspect: "inspect"
    case .hugepages: "hugepages"
    case .failureRate: "failure_rate"
    case .types: "types"
    case .sizes: "sizes"
    case .kmemSize: "kmem_size"
    case .kmemSizeMin: "kmem_size_min"
    case .kmemSizeMax: "kmem_size_max"
    case .kmemSizeScale: "kmem_size_scale"
    case .probes: "probes"
    case .otelRate: "otel_rate"
    case .memguard: "memguard"
    case .memguardType: "memguard_type"
    case .memguardMin: "memguard_min"
    case .memguardMax: "memguard_max"
    case .memguardPages: "memguard_pages"
    case .memguardNoFree: "memguard_nofree"
    case .memguardSide: "memguard_side"
    case .memguardWidth: "memguard_width"
    case .memguardDivisor: "memguard_divisor"
    case .report: "report"
    case .onreport: "onreport"
    case .stacks: "stacks"
    case .check: "check"
    case .checkDivisor: "check_divisor"
    case .redZone: "redzone"
    case .redZoneType: "redzone_type"
    case .redZonePanic: "redzone_panic"
    case .numzones: "numzones"
    case .zoneOffset: "zone_offset"
    case .leaks: "leaks"
    case .domains: "domains"
    case .zoneWarnings: "zone_warnings"
    case .nmbufs: "nmbufs"
    case .nmbclusters: "nmbclusters"
    case .nmbjumbop: "nmbjumbop"
    case .nmbjumbo9: "nmbjumbo9"
    case .nmbjumbo16: "nmbjumbo16"
    }
  }

  /// One line for the manual.
  public var summary: StaticString {
    switch self {
    case .percpu: "How per-CPU caches are protected: auto (restartable sequences where the system has them) or locked."
    case .verbose: "1 prints version, mode and the options in force at start, and names all mappings in /proc/PID/maps."
    case .stats: "exit prints the zone table to standard error when the program ends."
    case .background: "0 never starts the thread that returns unused memory while the program idles."
    case .period: "Milliseconds between two rounds of that thread. Memory unused for one period is returned."
    case .inspect: "any lets every process of the same user read this one where Yama would not (PR_SET_PTRACER)."
    case .hugepages: "What the arena asks of transparent huge pages: default, never or always."
    case .types: "Whose memory is counted: library (that of each library or program), site (of each place in them that asks), none. skip=a+b names further libraries that only forward."
    case .sizes: "1 counts the sizes that are asked for, for stave sizes, from 0 each time it is switched on. A call of malloc takes some 12 ns more meanwhile."
    case .kmemSize: "Bytes that slabs and large blocks may take; further requests fail. At most twice what the machine or container has. 0: no limit."
    case .kmemSizeMin: "The least that kmem_size_scale may come to; 0: none."
    case .kmemSizeMax: "The most that kmem_size_scale may come to; 0: none."
    case .kmemSizeScale: "Without kmem_size, if any of these three is set: the limit is the memory of the machine or container divided by n. 0 counts as 1."
    case .probes: "For which malloc types the probes of malloc and free fire while somebody watches them: all, none, those of a list (types that come later too), or those of the last list."
    case .otelRate: "Bytes between two samples of the probes otel_memory, on average; larger blocks are always samples."
    case .memguard: "n guards one of n requests, at random, of those that memguard_type, memguard_min and memguard_max select; 1: all; 0: none. See stave_memguard(3)."
    case .memguardType: "Whose memory is guarded: all, none, that of a list of malloc types or zones (those that come later too), or of the last list."
    case .memguardMin: "The smallest request that is guarded."
    case .memguardMax: "The largest; 0 for no largest."
    case .memguardPages: "Unless memguard is 0: 1 guards each request of a page or more, whatever n, type and max say."
    case .memguardNoFree: "1 guards items of zones with NOFREE, too: whoever reads them when they are free, as such a zone allows, is reported."
    case .memguardSide: "Where a guarded block lies: overflow (its end, rounded up to 16 bytes, before the guard), underflow (its start behind one), exact (its end before the guard to the byte, if no alignment is asked for; aligned as its size is)."
    case .memguardWidth: "Bytes of the guards before and behind each block, rounded up to pages."
    case .memguardDivisor: "Guarded blocks may take one n-th of the memory that machine, container and kmem_size leave; further requests are not guarded. 10 stands for what would leave nothing, as 0."
    case .report: "Where reports go: stderr, syslog (the datagrams of /dev/log), or, only at start, the absolute path of a file, to which they are appended; %p in it is the process's number."
    case .onreport: "What follows the report of a mistake: abort, or continue: a call that cannot be done does nothing, and vm.debug.reports counts."
    case .stacks: "Whether stacks of calls are kept: auto (for blocks that are guarded), 1 (for the frees that item checks see, too), 0 (none). Reports show where they were made in any case."
    case .check: "1 bypasses the caches and checks each malloc and free: every bad or double free is reported at that call, every write to free memory when it is handed out again or given back."
    case .checkDivisor: "While check is on: free items whose number is a multiple of n are filled, and looked at when they are handed out. 1: all; 0: none."
    case .redZone: "1 puts 16 guard bytes before and behind each block, n around one in n, which are looked at when it is freed or reallocated, and by stave check; 0 is off."
    case .redZoneType: "Of which malloc types, or zones of theirs as images-128, blocks get guard bytes while redzone is on: all, none, those of a list (types that come later too), or those of the last list."
    case .redZonePanic: "1 ends the process when guard bytes have been overwritten, whatever is done after other reports."
    case .numzones: "n serves memory without a type from n zones of each size, chosen by a hash of the place in the program that asks, so that an overrun hurts only blocks of the same class; 1 is off. A number beyond is brought into the range."
    case .zoneOffset: "What the hash of numzones begins with. It changes with each run; a number fixes it, so that the same places share a class again."
    case .leaks: "exit prints at the program's end how many blocks are still in use, by malloc type, and by the calls that asked for them where that is known (redzone, memguard). Which of them are lost is what stave leaks finds."
    case .domains: "n pretends that there are n memory domains and deals the CPUs to them in turn, to try zones with a policy (stave_zone(3)) on a machine without domains. 0: those of the machine."
    case .zoneWarnings: "0 keeps the warnings of zones at their limits to itself."
    case .nmbufs: "For programs with packet buffers: the most mbufs without a cluster that there may be, as stave_mbuf_set_max(3) sets it; 0: no limit. In a running process it can be raised, or taken away; at start it is raised to the sum of the next four."
    case .nmbclusters: "The same for clusters of 2 KiB."
    case .nmbjumbop: "The same for clusters of a page."
    case .nmbjumbo9: "The same for clusters of 9 KiB."
    case .nmbjumbo16: "The same for clusters of 16 KiB."
    case .failureRate: "n makes every n-th malloc fail, for testing; 0 is off."
    }
  }

  /// The words an option takes, in the order of their values; empty for a number.
  public var words: InlineArray<3, StaticString> {
    switch self {
    case .percpu: ["auto", "locked", ""]
    case .stats, .leaks: ["none", "exit", ""]
    case .inspect: ["descendants", "any", ""]
    case .types: ["none", "library", "site"]
    case .probes, .redZoneType, .memguardType: ["all", "none", "listed"]
    case .memguardSide: ["overflow", "underflow", "exact"]
    case .hugepages: ["default", "never", "always"]
    case .report: ["stderr", "syslog", "file"]
    case .onreport: ["abort", "continue", ""]
    case .stacks: ["auto", "0", "1"]
    default: ["", "", ""]
    }
  }

  /// A list of names is taken as well, behind this.
  public var listPrefix: StaticString { self == .types ? "skip=" : "" }

  /// Names of malloc types are taken as well, for this.
  public var nameUse: NameUse? {
    switch self {
    case .probes: .probes
    case .redZoneType: .redZone
    case .memguardType: .guards
    default: nil
    }
  }

  /// Names of zones, too: of a type's, and for MemGuard of a program's own.
  public var takesZones: Bool { self == .memguardType || self == .redZoneType }

  /// A path is taken as well.
  public var takesPath: Bool { self == .report }

  public var defaultValue: Int64 {
    switch self {
    case .otelRate: 512 << 10
    case .background, .checkDivisor, .zoneWarnings: 1
    case .period: 1000
    case .memguardWidth: 4096
    case .memguardDivisor: 10
    case .numzones: 1
    case .zoneOffset: -1
    default: 0
    }
  }

  /// Without a value it draws one by lot when the program starts.
  public var isDrawn: Bool { self == .zoneOffset }

  /// Least and largest value of a number.
  public var least: Int64 { self == .period || self == .otelRate || self == .numzones ? 1 : 0 }
  public var limit: Int64 {
    switch self {
    case .verbose, .background, .sizes, .check, .redZonePanic, .memguardPages, .memguardNoFree, .zoneWarnings: 1
    case .checkDivisor: 1_000_000_000
    case .memguard: 1 << 40
    case .memguardWidth: 64 << 20
    case .period: 3_600_000
    case .numzones: Int64(HashClasses.most)
    case .domains: Int64(DomainTable.most)
    case .zoneOffset: 0xffff_ffff
    case .otelRate, .nmbufs, .nmbclusters, .nmbjumbop, .nmbjumbo9, .nmbjumbo16: 1 << 40
    default: .max
    }
  }

  /// Whether `stave set` can change it in a running process.
  public var isChangeable: Bool {
    switch self {
    case .percpu, .kmemSize, .kmemSizeMin, .kmemSizeMax, .kmemSizeScale, .numzones, .zoneOffset, .domains: false
    default: true
    }
  }

  /// A number of bytes, which may be written with K, M, G or T behind it.
  public var isBytes: Bool { self == .kmemSize || self == .kmemSizeMin || self == .kmemSizeMax || self == .memguardMin || self == .memguardMax || self == .memguardWidth }

  /// Whether `value` is one of its values.
  public func takes(_ value: Int64) -> Bool {
    if takesWords { return value >= 0 && value < 3 && words[Int(value)].utf8CodeUnitCount > 0 }
    return value >= least && value <= limit
  }

  /// BSD's numzones is brought into its range; what others do not take is no value.
  public func clamped(_ value: Int64) -> Int64 { self == .numzones ? max(least, min(limit, value)) : value }

  public var takesWords: Bool { words[0].utf8CodeUnitCount > 0 }
}

public struct OptionValues {
  /// At least Option.count.
  public var values: InlineArray<48, Int64>

  public init() {
    values = InlineArray(repeating: 0)
    for option in 0..<Option.count { values[option] = Option(rawValue: option)!.defaultValue }
  }

  public subscript(option: Option) -> Int64 { values[option.rawValue] }

  /// Reads the environment. Later entries win.
  mutating func read(environment: UnsafePointer<UnsafePointer<CChar>?>) {
    var index = 0
    while let raw = environment[index] {
      index += 1
      let text = UnsafeRawPointer(raw).assumingMemoryBound(to: UInt8.self)
      let prefix: StaticString = "STAVE_"
      guard TextSlice(start: text, count: OptionValues.commonLength(text, prefix)).count == 6 else { continue }
      var nameEnd = 6
      while text[nameEnd] != 0 && text[nameEnd] != 61 { nameEnd += 1 }
      guard text[nameEnd] == 61 else { continue }
      var valueEnd = nameEnd + 1
      while text[valueEnd] != 0 { valueEnd += 1 }
      let name = TextSlice(start: text + 6, count: nameEnd - 6)
      let value = TextSlice(start: text + nameEnd + 1, count: valueEnd - nameEnd - 1)
      if name.equals("options", ignoringCase: true) {
        readList(value)
      } else if let option = OptionValues.option(named: name) {
        set(option, value)
      }
    }
  }

  private static func commonLength(_ text: UnsafePointer<UInt8>, _ prefix: StaticString) -> Int {
    var count = 0
    while count < prefix.utf8CodeUnitCount && text[count] == prefix.utf8Start[count] { count += 1 }
    return count
  }

  private static func option(named name: TextSlice) -> Option? {
    for index in 0..<Option.count {
      let option = Option(rawValue: index)!
      if name.equals(option.key, ignoringCase: true) { return option }
    }
    return nil
  }

  private mutating func readList(_ text: TextSlice) {
    var position = 0
    while position < text.count {
      let start = position
      while position < text.count && text.start[position] != 44 { position += 1 }
      var colon = start
      while colon < position && text.start[colon] != 58 { colon += 1 }
      let key = TextSlice(start: text.start + start, count: colon - start)
      let value = TextSlice(start: text.start + min(colon + 1, position), count: max(0, position - colon - 1))
      if key.count > 0 {
        if let option = OptionValues.option(named: key) { set(option, value) } else { OptionValues.warnUnknown(key) }
      }
      position += 1
    }
  }

  private mutating func set(_ option: Option, _ value: TextSlice) {
    if option.listPrefix.utf8CodeUnitCount > 0, let names = value.following(option.listPrefix) {
      // The environment stays where it is; so do the names.
      callers.skip(names.start, count: names.count)
      if values[option.rawValue] == 0 { values[option.rawValue] = 1 }
      return
    }
    if option.takesWords {
      for index in 0..<3 where option.words[index].utf8CodeUnitCount > 0 && value.equals(option.words[index]) {
        values[option.rawValue] = Int64(index)
        return
      }
      if option.takesPath && Report.send(toFile: value) {
        values[option.rawValue] = Int64(ReportPlace.file)
        return
      }
      if let use = option.nameUse, takes(UnsafeBufferPointer(start: value.start, count: value.count), use, withZones: option.takesZones) {
        values[option.rawValue] = Int64(ListMode.listed)
        return
      }
    } else if let number = option.isBytes ? value.bytes : value.number, option.takes(option.clamped(number)) {
      values[option.rawValue] = option.clamped(number)
      return
    }
    var report = Report("options")
    report.bytes(value.start, count: min(value.count, 40))
    report.text(value.count == 0 ? "an empty text is no value for " : " is no value for ")
    report.text(option.key)
    report.text("; ignored\n")
    report.write()
  }

  /// The names of a list; false, and nothing done, if it has none or too many.
  private func takes(_ list: UnsafeBufferPointer<UInt8>, _ use: NameUse, withZones: Bool) -> Bool {
    var count = 0, index = 0
    forEachListedName(in: list, withZones: withZones) { _ in count += 1 }
    guard count > 0, count <= TypeNames.most else { return false }
    forEachListedName(in: list, withZones: withZones) { name in
      _ = types.choose(name, at: index, of: count, for: use)
      index += 1
    }
    return true
  }

  private static func warnUnknown(_ key: TextSlice) {
    var nearest = Option.percpu
    for index in 1..<Option.count {
      let option = Option(rawValue: index)!
      if key.distance(to: option.key) < key.distance(to: nearest.key) { nearest = option }
    }
    var report = Report("options")
    report.text("unknown option ")
    report.bytes(key.start, count: min(key.count, 40))
    report.text("; did you mean ")
    report.text(nearest.key)
    report.text("?\n")
    report.write()
  }
}
