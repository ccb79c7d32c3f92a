// SPDX-License-Identifier: BSD-2-Clause
//
// One run of a faulty program under one tool, and what became of the mistake. A diagnosis is true if it says what was done, to which
// block where there is one: another block's overflow, or a crash of the allocator's, is none.

import Foundation

@testable import TestSupport

enum FaultVerdict: String, Sendable {
  /// With a true diagnosis: at the mistake itself, or later, when the block is freed, its memory handed out again, or the program ends.
  case reported, reportedLater
  /// A signal, or other words, at the mistake itself or later.
  case stopped, stoppedLater
  case missed
  /// This tool or system has no such thing.
  case impossible
}

struct FaultTrial: Sendable {
  var verdict: FaultVerdict
  var ended: Ended

  static func make(_ variant: FaultVariant, _ tool: FaultTool) throws -> FaultTrial? {
    guard let ended = try perform(variant, "wrong", tool) else { return nil }
    return FaultTrial(verdict: judge(ended, variant, tool), ended: ended)
  }

  /// Nil: the twin ran well and nothing was said; else what happened.
  static func complaint(ofTwin variant: FaultVariant, _ tool: FaultTool) throws -> Ended? {
    guard let ended = try perform(variant, "twin", tool), !ended.text.contains("IMPOSSIBLE") else { return nil }
    // leaks:exit always says what is out, as libc's own blocks are.
    let isRight = tool.options.contains("leaks:exit") ? !isTrue(ended.errorText, of: variant, at: "", by: .stave) : ended.errorText.isEmpty
    return ended.succeeded && ended.text.hasSuffix("end\n") && isRight ? nil : ended
  }

  private static func perform(_ variant: FaultVariant, _ role: String, _ tool: FaultTool) throws -> Ended? {
    guard let program = try CorpusPrograms.build(variant.fault.file, isSanitized: tool.isSanitized) else { return nil }
    let words = tool.command + [program, variant.word, role] + variant.arguments
    return try run(words[0], Array(words.dropFirst()), environment: tool.environment)
  }

  private static func judge(_ ended: Ended, _ variant: FaultVariant, _ tool: FaultTool) -> FaultVerdict {
    if ended.text.contains("IMPOSSIBLE") { return .impossible }
    let lines = ended.text.split(separator: "\n")
    let isLater = lines.contains("made")
    // What valgrind and others say goes to either stream.
    let said = ended.errorText + ended.text
    let address = lines.first { $0.hasPrefix("mistake ") }.map { String($0.dropFirst("mistake ".count)) }
    guard let address else { return .stopped }
    if isTrue(said, of: variant, at: address, by: tool.speaker) { return isLater ? .reportedLater : .reported }
    return ended.succeeded && lines.last == "end" ? .missed : isLater ? .stoppedLater : .stopped
  }

  /// Whether one of the ways to say it is there, with all of its words.
  private static func isTrue(_ said: String, of variant: FaultVariant, at address: String, by speaker: FaultSpeaker) -> Bool {
    words(of: variant, at: address, by: speaker).contains { $0.allSatisfy(said.contains) }
  }

  private static func words(of variant: FaultVariant, at address: String, by speaker: FaultSpeaker) -> [[String]] {
    let fault = variant.fault, size = variant.size
    switch speaker {
    case .stave:
      let block = "block at \(address) of \(size) bytes"
      let access = fault.reads ? "memguard: read of" : fault == .afterRealloc ? "memguard: \(variant.how) of" : "memguard: write of"
      switch fault {
      case .overWrite, .overRead, .slackWrite, .slackRead:
        return [[access, "behind the end of the \(block)"], ["memguard damage", "behind the end of the \(block)"], ["redzone: ", "overflow: ", "behind the block", "of \(size) bytes at \(address)"]]
      case .underWrite, .underRead:
        return [[access, "before the \(block)"], ["memguard damage", "before the \(block)"], ["redzone: ", "underflow: ", "before the block", "of \(size) bytes at \(address)"]]
      case .afterFreeWrite, .afterFreeRead, .afterRealloc: return [[access, "into the \(block), freed"], ["write after free: ", address]]
      case .doubleFree: return [
        ["double free", address], ["bad free: free() of \(address), which is free already"],
        // Item checks have filled what RedZone knew of the block.
        ["bad free: free() of an address inside a block at \(address)", "freed before by type "]]
      case .foreignFree: return [["bad free: ", "of \(address), which stave does not own"]]
      case .insideFree: return [["bad free: free() of an address inside a block at \(address)"], ["bad free: free() of \(address), ", " bytes into the "]]
      case .leak: return [["]: leaks: ", "  1 block of \(size) bytes of type malloc was asked for here:\n"]]
      case .sizedDelete: return [["bad free: operator delete() of \(address), a block of ", " bytes of type malloc, with a size of "]]
      case .otherType: return [["bad free: stave_free() of \(address), a block of ", " bytes of type ours, as one of type theirs"]]
      case .otherPair, .recycledRead: return []
      }
    case .glibc:
      switch fault {
      case .doubleFree: return [["double free"]]
      case .foreignFree, .insideFree: return [["invalid pointer"]]
      default: return []
      }
    case .duma:
      switch fault {
      case .overWrite, .slackWrite: return [["overwrite of no mans land above userSpace", String(address.dropFirst(2))]]
      case .underWrite: return [["overwrite of ptrs no mans land below userSpace", String(address.dropFirst(2))]]
      case .doubleFree: return [["memory already freed"], ["address not from DUMA or already freed"]]
      case .foreignFree, .insideFree: return [["address not from DUMA or already freed"]]
      case .otherPair: return [["Free mismatch"]]
      case .leak: return [["not freed"]]
      default: return []
      }
    case .electricFence:
      switch fault {
      case .doubleFree: return [["freeing free memory"]]
      case .foreignFree, .insideFree: return [["address not from malloc"]]
      default: return []
      }
    case .valgrind:
      let access = fault.reads || variant.how == "read" ? "Invalid read" : "Invalid write"
      // It groups digits.
      let size = size < 1000 ? "\(size)" : "\(size / 1000)," + "\(1000 + size % 1000)".dropFirst()
      switch fault {
      case .overWrite, .overRead, .slackWrite, .slackRead: return [[access, "after a block of size \(size) alloc'd"]]
      case .underWrite, .underRead: return [[access, "before a block of size \(size) alloc'd"]]
      case .afterFreeWrite, .afterFreeRead, .afterRealloc: return [[access, "inside a block of size \(size) free'd"]]
      case .doubleFree: return [["Invalid free()", "inside a block of size \(size) free'd"]]
      case .foreignFree: return [["Invalid free()"]]
      case .insideFree: return [["Invalid free()", "inside a block of size \(size) alloc'd"]]
      case .sizedDelete: return [["Mismatched", "size"]]
      case .otherPair: return [["Mismatched"]]
      case .recycledRead: return [["uninitialised value"]]
      case .leak: return [["definitely lost"]]
      case .otherType: return []
      }
    case .addressSanitizer:
      let access = fault.reads || variant.how == "read" ? "READ of size" : "WRITE of size"
      let region = "\(size)-byte region"
      switch fault {
      case .overWrite, .overRead, .slackWrite, .slackRead: return [["heap-buffer-overflow", access, "after \(region)"], ["heap-buffer-overflow", access, "to the right of \(region)"]]
      case .underWrite, .underRead: return [["heap-buffer-overflow", access, "before \(region)"], ["heap-buffer-overflow", access, "to the left of \(region)"]]
      case .afterFreeWrite, .afterFreeRead, .afterRealloc: return [["heap-use-after-free", access, region]]
      case .doubleFree: return [["attempting double-free", region]]
      case .foreignFree: return [["attempting free on address which was not malloc()-ed"], ["not owned by"], ["attempting to call malloc_usable_size"], ["bad-free"]]
      case .insideFree: return [["attempting free on address which was not malloc()-ed", region]]
      case .sizedDelete: return [["new-delete-type-mismatch"]]
      case .otherPair: return [["alloc-dealloc-mismatch"]]
      case .leak: return [["LeakSanitizer", "\(size) byte"]]
      case .otherType, .recycledRead: return []
      }
    }
  }
}
