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

  public static let all: [Probe] = [
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

  /// `stave_probes.h`.
  public static var header: String {
    ([
      """
      // SPDX-License-Identifier: BSD-2-Clause
      //
      // The probes. Made from Sources/Exporters/ProbeList.swift by `make probes`: edit that. stave_tracing.h says what notes and
      // semaphores are.

      #ifndef STAVE_PROBES_H
      #define STAVE_PROBES_H

      #include "stave_tracing.h"
      """
    ] + all.map(\.declaration) + ["#ifdef STAVE_PROBE_SITES"] + all.map(\.site) + ["#endif\n\n#endif\n"]).joined(separator: "\n\n")
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
      \(isFrequent ? "" : "uint16_t \(symbol)_semaphore STAVE_SEMAPHORE;\n")__attribute__((noinline)) void \(symbol)_site(\(parameters)) {
        STAVE_PROBE_SITE("\(provider)", "\(name)", "\(semaphore)", "\(arguments.map(\.operand).joined(separator: " "))",
                         \(arguments.map { "[\($0.name)] \"r\"(\($0.name))" }.joined(separator: ", ")));
      }
      """
  }
}
