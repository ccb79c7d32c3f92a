// SPDX-License-Identifier: BSD-2-Clause
//
// The one list of probes. `make probes` writes CPlatform/include/stave_probes.h from it, `make manuals` stave_probes(5); tests hold
// both, and the library's notes, to it.

public struct Probe: Sendable {
  public struct Argument: Sendable {
    public enum Kind: Sendable { case number, signed, address, text }

    public let name: String
    public let kind: Kind
    public let meaning: String

    /// As SystemTap's notes say it: bytes, negative for what has a sign. The registers are the compiler's.
    var operand: String { (kind == .signed ? "-8@" : "8@") + "%[\(name)]" }
  }

  public let provider: String
  public let name: String
  /// Whether it lies on the way of each allocation or free, and shares their semaphore.
  public let isFrequent: Bool
  /// What has it, beside Stave's core.
  public var part = Part.core

  /// Where its place is: in whatever has the core, libstave.so too, or in what has packet buffers alone.
  public enum Part: Sendable, CaseIterable {
    case core, packets

    /// The generated header, from the source's folder.
    public var path: String {
      switch self {
      case .core: "Sources/CPlatform/include/stave_probes.h"
      case .packets: "Sources/CPacketProbes/include/stave_packet_probes.h"
      }
    }
    var guardName: String { self == .core ? "STAVE_PROBES_H" : "STAVE_PACKET_PROBES_H" }
    var subject: String { self == .core ? "The probes." : "The probes of packet buffers." }
  }
  /// When it fires.
  public let meaning: String
  public let arguments: [Argument]

  /// As tracers write it.
  public var title: String { "\(provider):\(name)" }
}

extension Probe {
  private static func zone(_ name: String, _ meaning: String, _ others: Argument...) -> Probe {
    Probe(
      provider: "stave", name: "zone_" + name, isFrequent: false, meaning: meaning,
      arguments: [
        Argument(name: "zone", kind: .text, meaning: "The zone's name."),
        Argument(name: "size", kind: .number, meaning: "Bytes of an item."),
      ] + others)
  }

  private static func block(_ name: String, _ meaning: String, classMeaning: String, _ others: Argument...) -> Probe {
    Probe(
      provider: "stave", name: name, isFrequent: true, meaning: meaning,
      arguments: [
        Argument(name: "type", kind: .text, meaning: "The name of the malloc type; `malloc` for memory without one."),
        Argument(name: "id", kind: .number, meaning: "The type's number; 0 for memory without one. A number may be another type's when its type has ended."),
        Argument(name: "size", kind: .number, meaning: "Bytes that the block takes: of its class, or of its pages. Over both probes they add up to what is in use."),
        Argument(name: "class", kind: .signed, meaning: classMeaning),
        Argument(name: "address", kind: .address, meaning: "The block."),
      ] + others)
  }

  private static func mbuf(_ name: String, _ meaning: String, _ arguments: Argument...) -> Probe {
    Probe(provider: "stave", name: name, isFrequent: false, part: .packets, meaning: meaning, arguments: arguments)
  }

  private static let how = Argument(name: "how", kind: .number, meaning: "1: without waiting; 2: it may wait.")
  private static let type = Argument(name: "type", kind: .number, meaning: "The mbuf's type.")
  private static let flags = Argument(name: "flags", kind: .number, meaning: "Its flags.")
  private static let buffer = Argument(name: "mbuf", kind: .address, meaning: "The mbuf.")
  private static let result = Argument(name: "mbuf", kind: .address, meaning: "The mbuf, 0 if there was none.")
  private static let bytes = Argument(name: "size", kind: .number, meaning: "Bytes of the cluster.")
  private static let cluster = Argument(name: "cluster", kind: .address, meaning: "The cluster, 0 if there was none.")

  public static let packets: [Probe] = [
    mbuf("m_init", "An mbuf, with a cluster or without, is made ready for who asked for it; before the probe of the request.", buffer, how, type, flags),
    mbuf("m_get", "An mbuf was asked for.", how, type, result),
    mbuf("m_gethdr", "An mbuf with a packet header was asked for.", how, type, result),
    mbuf("m_getcl", "An mbuf with a cluster of 2 KiB was asked for, from the packet zone.", how, type, flags, result),
    mbuf("m_getjcl", "An mbuf with a cluster of a size was asked for; after the probes of what it is made of.", how, type, flags, bytes, result),
    mbuf(
      "m_clget", "A cluster of 2 KiB was asked for, for an mbuf.", buffer, how,
      Argument(name: "done", kind: .number, meaning: "1 if the mbuf has it, 0 if there was none.")),
    mbuf("m_cljget", "A cluster of a size was asked for.", Argument(name: "mbuf", kind: .address, meaning: "The mbuf that it is for, 0 for none."), how, bytes, cluster),
    mbuf("m_cljset", "An mbuf was given a cluster that had been got before.", buffer, Argument(name: "cluster", kind: .address, meaning: "The cluster."), bytes),
    mbuf("m_free", "An mbuf is about to be freed.", buffer),
    mbuf("m_freem", "A chain is about to be freed; before the probes of its mbufs.", Argument(name: "mbuf", kind: .address, meaning: "Its first mbuf.")),
  ]

  public static let all: [Probe] = core + packets

  public static let core: [Probe] = [
    block(
      "malloc", "A block was given out, by whichever function. A large block that realloc gives another size fires free, then malloc.",
      classMeaning: "The index of the size class, -1 for a large block.",
      Argument(name: "requested", kind: .number, meaning: "Bytes asked for.")),
    block("free", "A block is about to be taken back.", classMeaning: "Always 0."),
    zone(
      "grow", "A zone has a new slab.", Argument(name: "bytes", kind: .number, meaning: "Bytes of the slab."),
      Argument(name: "slabs", kind: .number, meaning: "Slabs that the zone has now.")),
    zone(
      "release", "A zone gives a free slab back to where it came from.", Argument(name: "bytes", kind: .number, meaning: "Bytes of the slab."),
      Argument(name: "slabs", kind: .number, meaning: "Slabs that the zone has left.")),
    zone(
      "fail", "A request of a zone failed: for want of memory, because of a malloc type's limit, or because a hook refused. Of malloc it fires once, when all caches have been given up in vain.",
      Argument(name: "failures", kind: .number, meaning: "How often that has happened to this zone.")),
    zone(
      "sleep", "A request waits for memory, or for room within its malloc type's limit. It fires once for each request, however long it takes.",
      Argument(name: "sleeps", kind: .number, meaning: "How often that has happened to this zone.")),
    zone(
      "reclaim", "A zone was asked to give back what it caches, and has.",
      Argument(name: "how", kind: .number, meaning: "0: the depot down to what is needed; 1: all of the depot; 2: the caches of the CPUs too."),
      Argument(name: "bytes", kind: .number, meaning: "Bytes of the slabs that went back.")),
    Probe(
      provider: "otel_memory", name: "alloc", isFrequent: true,
      meaning: "One allocation in about `otel_rate` bytes: each byte has the same chance to make its block a sample, and blocks of that size and more always are.",
      arguments: [
        Argument(name: "address", kind: .address, meaning: "The block."),
        Argument(name: "size", kind: .number, meaning: "Bytes that the block takes."),
        Argument(name: "weight", kind: .number, meaning: "Bytes that it stands for: the larger of size and rate. The sum of weights is an unbiased estimate of bytes, that of weight / size one of blocks."),
      ]),
    Probe(
      provider: "otel_memory", name: "free", isFrequent: true, meaning: "A block that was a sample is about to be taken back.",
      arguments: [Argument(name: "address", kind: .address, meaning: "The block.")]),
  ]

  // MARK: - The header

  /// `stave_probes.h` and `stave_packet_probes.h`.
  public static func header(_ part: Part) -> String {
    let probes = all.filter { $0.part == part }
    return ([
      """
      // SPDX-License-Identifier: BSD-2-Clause
      //
      // \(part.subject) Made from Sources/Exporters/ProbeList.swift by `make probes`: edit that. stave_tracing.h says what notes and
      // semaphores are.

      #ifndef \(part.guardName)
      #define \(part.guardName)

      #include "stave_tracing.h"
      """
    ] + probes.map(\.declaration) + ["#ifdef STAVE_PROBE_SITES"] + probes.map(\.site) + ["#endif\n\n#endif\n"]).joined(separator: "\n\n")
  }

  private var symbol: String { (provider == "stave" ? "stave_" : "stave_\(provider)_") + name }
  private var parameters: String { arguments.map { "uint64_t \($0.name)" }.joined(separator: ", ") }

  /// What the core calls. One of a shared semaphore is behind a look at that already.
  private var declaration: String {
    let names = arguments.map(\.name).joined(separator: ", ")
    let call = "\(symbol)_site(\(names));"
    return """
      // \(title)
      \(isFrequent ? "" : "extern uint16_t \(symbol)_semaphore STAVE_HIDDEN;\n")void \(symbol)_site(\(parameters)) STAVE_HIDDEN;
      static inline void \(symbol)_probe(\(parameters)) {
        \(isFrequent ? call : "if (__builtin_expect(stave_is_watched(&\(symbol)_semaphore), 0)) \(call)")
      }
      """
  }

  private var site: String {
    let semaphore = isFrequent ? "stave_free_base_storage + 6" : "\(symbol)_semaphore"
    return """
      \(isFrequent ? "" : "uint16_t \(symbol)_semaphore STAVE_SEMAPHORE;\n")STAVE_SITE void \(symbol)_site(\(parameters)) {
        STAVE_PROBE_SITE("\(provider)", "\(name)", "\(semaphore)", "\(arguments.map(\.operand).joined(separator: " "))",
                         \(arguments.map { "[\($0.name)] \"r\"(\($0.name))" }.joined(separator: ", ")));
      }
      """
  }
}
