// SPDX-License-Identifier: BSD-2-Clause
//
// A target that says of some words what a test wants.

@testable import Inspection

/// A target in which words can be put in the place of others.
final class Altered: TargetMemory, @unchecked Sendable {
  let inner: any TargetMemory
  var words: [UInt: UInt64] = [:]

  init(_ inner: any TargetMemory) { self.inner = inner }

  var name: String { inner.name }
  var process: Int32 { inner.process }
  var executablePath: String? { inner.executablePath }
  func mappings() throws(InspectionError) -> [Mapping] { try inner.mappings() }
  func modules(among mappings: [Mapping]) -> [Inspection.Module] { inner.modules(among: mappings) }
  func file(of module: Inspection.Module) -> FileBytes? { inner.file(of: module) }

  func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    try inner.read(into: buffer, at: address)
    for (place, word) in words {
      for byte in 0..<8 as Range<UInt> {
        let offset = place &+ byte &- address
        if offset < UInt(buffer.count) { buffer[Int(offset)] = UInt8(truncatingIfNeeded: word >> UInt64(byte * 8)) }
      }
    }
  }

  func read(batch: [ReadRequest]) throws(InspectionError) -> [Bool] { batch.map { (try? read(into: $0.destination, at: $0.address)) != nil } }
}
