// SPDX-License-Identifier: BSD-2-Clause
//
// What Stave promises of each variant in each of its modes: stave(7), stave_memguard(3), stave_redzone(3) and README's "Caught when",
// as a function. CI holds a part of the corpus to it, and Documentation/Caught.md all of it.

/// At the mistake; at the latest when the block is freed, its memory is handed out again, or the program ends; or not at all.
enum FaultPromise: Int, Comparable, Sendable {
  case nothing, later, atMistake

  static func < (a: FaultPromise, b: FaultPromise) -> Bool { a.rawValue < b.rawValue }

  func isKept(by verdict: FaultVerdict) -> Bool {
    switch self {
    case .nothing: true
    case .later: verdict == .reported || verdict == .reportedLater || verdict == .impossible
    case .atMistake: verdict == .reported || verdict == .impossible
    }
  }

  static func of(_ variant: FaultVariant, _ options: Set<String>) -> FaultPromise {
    let plain = promisedAlways(variant)
    if options.contains("memguard:1") {
      let side = options.first { $0.hasPrefix("memguard_side:") }.map { String($0.dropFirst("memguard_side:".count)) } ?? "overflow"
      return max(plain, guarded(variant, side))
    }
    return max(
      plain, options.contains("check:1") ? checked(variant) : .nothing, options.contains("redzone:1") ? between(variant) : .nothing,
      options.contains("leaks:exit") && variant.fault == .leak ? .later : .nothing)
  }

  private static func promisedAlways(_ variant: FaultVariant) -> FaultPromise {
    variant.fault == .foreignFree || variant.fault == .insideFree ? .atMistake : .nothing
  }

  /// Item checks: every bad and double free, a wrong size if the block's class has it not; writes to free memory when it is handed out
  /// again, if of a large block it was kept until then.
  private static func checked(_ variant: FaultVariant) -> FaultPromise {
    switch variant.fault {
    case .doubleFree, .otherType: .atMistake
    case .sizedDelete: variant.size == 16 && variant.how == "smaller" ? .nothing : .atMistake
    case .afterFreeWrite: variant.size > 32768 && variant.how == "later" ? .nothing : .later
    default: .nothing
    }
  }

  /// RedZone: overwrites of the 16 bytes on either side; wrong sizes and types.
  private static func between(_ variant: FaultVariant) -> FaultPromise {
    if [.sizedDelete, .otherType].contains(variant.fault) { return .atMistake }
    return [.overWrite, .slackWrite, .underWrite].contains(variant.fault) && variant.distance <= 16 ? .later : .nothing
  }

  /// MemGuard: what lands in the guard, at the instruction; what is written on the block's own pages, at its free.
  private static func guarded(_ variant: FaultVariant, _ side: String) -> FaultPromise {
    let page = 4096, pages = rounded(variant.size, page), width = 4096
    let lies = side == "underflow" ? 0 : pages - (side == "exact" ? exact(variant.size) : rounded(variant.size, 16))
    let gap = variant.fault.isOverflow ? pages - lies - variant.size : lies
    switch variant.fault {
    case _ where variant.fault.isOverflow || variant.fault.isUnderflow:
      return variant.distance > gap && variant.distance <= gap + width ? .atMistake : variant.fault.reads ? .nothing : .later
    case .afterFreeWrite, .afterFreeRead, .afterRealloc, .doubleFree, .sizedDelete, .otherType: return .atMistake
    default: return .nothing
    }
  }

  /// A block's alignment is then the largest power of two that divides its size, 16 at most.
  private static func exact(_ size: Int) -> Int { rounded(size, min(16, size & -size)) }
}
