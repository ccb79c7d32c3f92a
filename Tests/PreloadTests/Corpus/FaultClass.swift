// SPDX-License-Identifier: BSD-2-Clause
//
// The classes of mistakes in Tests/Corpus, and their variants in size, distance, thread and manner.

enum FaultClass: String, CaseIterable, Sendable {
  case overWrite = "over-write", overRead = "over-read", slackWrite = "slack-write", slackRead = "slack-read"
  case underWrite = "under-write", underRead = "under-read"
  case afterFreeWrite = "after-free-write", afterFreeRead = "after-free-read", afterRealloc = "after-realloc"
  case doubleFree = "double-free", foreignFree = "foreign-free", insideFree = "inside-free"
  case sizedDelete = "sized-delete", otherPair = "other-pair", otherType = "other-type"
  case recycledRead = "recycled-read", leak

  var title: String {
    switch self {
    case .overWrite: "overflow by writing"
    case .overRead: "overflow by reading"
    case .slackWrite: "overflow by writing, within the size rounded up to 16"
    case .slackRead: "overflow by reading, within the size rounded up to 16"
    case .underWrite: "underflow by writing"
    case .underRead: "underflow by reading"
    case .afterFreeWrite: "write after free"
    case .afterFreeRead: "read after free"
    case .afterRealloc: "old address after realloc"
    case .doubleFree: "double free"
    case .foreignFree: "free or realloc of a stack's or global address"
    case .insideFree: "free inside a block"
    case .sizedDelete: "delete with a wrong size"
    case .otherPair: "new and free, malloc and delete, new[] and delete"
    case .otherType: "stave_free with another malloc type"
    case .recycledRead: "read of recycled memory before it is written"
    case .leak: "leak"
    }
  }

  /// The file of Tests/Corpus.
  var file: String {
    switch self {
    case .overWrite, .overRead, .slackWrite, .slackRead, .underWrite, .underRead: "overruns.c"
    case .afterFreeWrite, .afterFreeRead, .afterRealloc, .doubleFree, .recycledRead, .leak: "lifetimes.c"
    case .foreignFree, .insideFree, .otherType: "frees.c"
    case .sizedDelete, .otherPair: "pairs.cc"
    }
  }

  var isOverflow: Bool { [.overWrite, .overRead, .slackWrite, .slackRead].contains(self) }
  var isUnderflow: Bool { self == .underWrite || self == .underRead }
  var isUseAfterFree: Bool { [.afterFreeWrite, .afterFreeRead, .afterRealloc].contains(self) }
  /// By reading; of `afterRealloc` no variant tells.
  var reads: Bool { [.overRead, .slackRead, .underRead, .afterFreeRead].contains(self) }

  var variants: [FaultVariant] {
    switch self {
    case .overWrite, .slackWrite: beyond("over-write", isSlack: self == .slackWrite)
    case .overRead, .slackRead: beyond("over-read", isSlack: self == .slackRead)
    case .underWrite, .underRead: beyond(rawValue, isSlack: nil)
    case .afterFreeWrite, .afterFreeRead: each(["first", "last", "later"])
    case .afterRealloc: each(["read", "write"])
    case .doubleFree: each(["now", "later"])
    case .foreignFree: each(["stack", "global", "resize-stack", "resize-global"], threads: ["main", "other"])
    case .insideFree: [8, 16, 64, 4096].flatMap { distance in each([""], distance: distance).filter { $0.size > distance } }
    case .sizedDelete: each(["smaller", "larger", "array"])
    case .otherPair: each(["malloc-delete", "new-free", "array-free", "array-delete"])
    case .otherType: each([""])
    case .recycledRead, .leak: each([""], threads: ["main", "other"])
    }
  }

  private static var sizes: [Int] { [16, 24, 100, 4096, 100000] }
  private static var threads: [String] { ["main", "other", "handed"] }

  private func each(_ hows: [String], threads: [String] = Self.threads, distance: Int = 0) -> [FaultVariant] {
    Self.sizes.flatMap { size in
      threads.flatMap { thread in hows.map { FaultVariant(fault: self, word: rawValue, size: size, distance: distance, thread: thread, how: $0) } }
    }
  }

  /// One byte in each thread, and all bytes up to it in one. `isSlack`: only those within what rounds the size up, or beyond it.
  private func beyond(_ word: String, isSlack: Bool?) -> [FaultVariant] {
    Self.sizes.flatMap { size in
      [1, 8, 16, 17, 64, 4096].filter { isSlack == nil || isSlack == ($0 <= rounded(size, 16) - size) }.flatMap { distance in
        Self.threads.map { FaultVariant(fault: self, word: word, size: size, distance: distance, thread: $0, how: "byte") }
          + [FaultVariant(fault: self, word: word, size: size, distance: distance, thread: "main", how: "run")]
      }
    }
  }
}

func rounded(_ size: Int, _ unit: Int) -> Int { (size + unit - 1) / unit * unit }

struct FaultVariant: Hashable, Sendable, CustomStringConvertible {
  var fault: FaultClass
  /// What the program calls it.
  var word: String
  var size: Int
  var distance: Int
  var thread: String
  var how: String

  var arguments: [String] {
    ["--size", "\(size)", "--thread", thread] + (distance == 0 ? [] : ["--distance", "\(distance)"]) + (how.isEmpty ? [] : ["--how", how])
  }
  var description: String { ([word, "wrong"] + arguments).joined(separator: " ") }

  /// The same without the mistake. Many share one, for what is in the block has no distance.
  var twin: FaultVariant {
    var twin = self
    if fault.isOverflow || fault.isUnderflow { twin.distance = how == "run" ? 17 : 1 }
    if fault == .slackWrite { twin.fault = .overWrite }
    if fault == .slackRead { twin.fault = .overRead }
    if fault == .insideFree { twin.distance = 8 }
    return twin
  }
}
