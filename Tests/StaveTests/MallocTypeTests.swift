// SPDX-License-Identifier: BSD-2-Clause
//
// MallocType and withMallocType where the process's malloc is not Stave: they work, and count nothing. With Stave:
// CommandTests/SwiftTypesTests.

import Stave
import StaveC
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension MallocType {
  fileprivate static let images = MallocType("images", "decoded images")
}

@Suite struct MallocTypeTests {
  private struct Broken: Error {}
  private enum Reason: Error { case first }

  @Test func `a scope returns and throws what its closure does`() throws {
    #expect(withMallocType(.images) { 5 } == 5)
    #expect(throws: Broken.self) { try withMallocType(.images) { throw Broken() } }
    do {
      try withMallocType(.images) { () throws(Reason) in throw .first }
    } catch {
      let reason: Reason = error  // no other error can come out
      #expect(reason == .first)
    }
  }

  @Test func `a type is itself, whatever it is called`() {
    let other = MallocType("images")
    #expect(MallocType.images == .images && other != .images && other.name == "images" && MallocType("").name == "")
    other.end()
  }

  @Test func `a type that C declares is the same in Swift`() {
    let structure = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
    defer { structure.deallocate() }
    structure.initialize(to: stave_type())
    structure.pointee.name = UnsafePointer(strdup("from C"))
    #expect(MallocType(structure).name == "from C" && MallocType(structure) == MallocType(structure))
    free(UnsafeMutablePointer(mutating: structure.pointee.name))
  }

  @Test(arguments: [1, 16, 64, 512, 4096]) func `blocks are aligned and zero as asked, and may be freed by anybody`(_ alignment: Int) throws {
    for size in [0, 1, 100, 5000, 100_000] {
      let block = try #require(MallocType.images.allocate(byteCount: size, alignment: alignment, .zero))
      #expect(UInt(bitPattern: block) % UInt(alignment) == 0)
      #expect((0..<size).allSatisfy { block.load(fromByteOffset: $0, as: UInt8.self) == 0 })
      if size % 2 == 0 { MallocType.images.deallocate(block) } else { free(block) }
    }
  }

  @Test func `a block keeps what is in it when it grows`() throws {
    let numbers = try #require(MallocType.images.allocate(Int.self, capacity: 10, .zero))
    numbers[9] = 7
    let more = try #require(MallocType.images.reallocate(numbers, byteCount: 80_000)).assumingMemoryBound(to: Int.self)
    #expect(more[9] == 7 && more[0] == 0)
    MallocType.images.deallocate(more)
    #expect(MallocType.images.allocate(byteCount: .max) == nil && MallocType.images.allocate(Int.self, capacity: .max / 4) == nil)
  }
}
