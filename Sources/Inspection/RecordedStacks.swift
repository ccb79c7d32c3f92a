// SPDX-License-Identifier: BSD-2-Clause
//
// The stacks of calls that a process keeps (Diagnostics/StackStore), read from outside by their numbers, and what lies at their
// addresses: the program or library, the place in it, the function.

import Diagnostics
import Heap
import Pages

/// An address in a call, and what is known of it.
public struct StackFrame: Equatable, Sendable {
  public var address: UInt
  /// The file, as the target sees it, and the place in terms of its own headers; nil for code without a file.
  public var path: String?
  public var place: UInt64
  /// As the file has it, not demangled; nil if it has none.
  public var function: String?
  /// Bytes from the function's beginning.
  public var offset: UInt64
}

public final class RecordedStacks {
  private let target: any TargetMemory
  private let table: UInt
  private let words: Int
  private let symbolizer: Symbolizer
  private struct Image {
    var low: UInt
    var high: UInt
    var bias: UInt
    var path: String
    var buildID: String?
  }
  private var images: [Image]?

  /// Reads the root again. Throws what that throws.
  public init(_ reader: SnapshotReader, symbolizer: Symbolizer = Symbolizer()) throws(InspectionError) {
    let copies = Copies(reader.target)
    defer { copies.discard() }
    let state = try reader.readRoot(copies).part(StacksState.self, RootLayout.stacksOffset)
    target = reader.target
    table = state.pointee.table.map { UInt(bitPattern: $0) } ?? 0
    words = Int(clamping: state.pointee.words)
    self.symbolizer = symbolizer
  }

  /// The addresses that the calls return to, innermost first; empty for what is no number of a stack, or cannot be read.
  public func returns(of number: UInt32) -> [UInt] {
    guard table != 0, number > 0, Int(number) < words, Int(number) < StackTable.blockCount * StackTable.blockWords else { return [] }
    let place = Int(number)
    let block = table &+ UInt(StackTable.chainCount * 4 + place / StackTable.blockWords * 8)
    guard let start = try? target.read(UInt.self, at: block), start != 0 else { return [] }
    let record = start &+ UInt(place % StackTable.blockWords * 8)
    guard let header = try? target.read(StackRecord.self, at: record), (1...UInt32(Stacks.mostFrames)).contains(header.count) else { return [] }
    let first = record &+ UInt(StackRecord.headerWords * 8)
    return (try? target.readArray(UInt.self, at: first, count: Int(header.count), limit: Stacks.mostFrames)) ?? []
  }

  /// The same with names. The first time for a file costs reading its symbols.
  public func frames(of number: UInt32) -> [StackFrame] { returns(of: number).map { frame(at: $0 &- 1) } }

  /// What lies at an address of code.
  public func frame(at address: UInt) -> StackFrame {
    guard let image = findImages().first(where: { $0.low <= address && address < $0.high }) else {
      return StackFrame(address: address, path: nil, place: 0, function: nil, offset: 0)
    }
    let place = UInt64(address &- image.bias)
    let process = target is LiveProcess ? target.process : nil
    let found = symbolizer.function(at: place, in: image.path, buildID: image.buildID, process: process)
    return StackFrame(address: address, path: image.path, place: place, function: found?.name, offset: found?.offset ?? 0)
  }

  private func findImages() -> [Image] {
    if let images { return images }
    var found: [Image] = []
    if let mappings = try? target.mappings() {
      for module in target.modules(among: mappings) {
        guard let image = try? ElfImage(in: target, at: module.base) else { continue }
        found.append(Image(low: image.low, high: image.high, bias: image.bias, path: module.path, buildID: image.buildID()?.hexadecimalDigits))
      }
    }
    images = found
    return found
  }
}

extension [UInt8] {
  var hexadecimalDigits: String { map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() }
}
