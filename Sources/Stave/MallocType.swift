// SPDX-License-Identifier: BSD-2-Clause
//
// A malloc type's name and its place in memory, which the library keeps its own part in.

public import StaveC

/// What memory is for: a name under which blocks and bytes are counted.
///
/// Keep a type for as long as the program runs, as a static constant:
///
///     extension MallocType {
///       static let images = MallocType("images", "decoded images")
///     }
///
/// It is known to the tools from its first use on. Types are told apart by where they were made, not by name; the tools put a number
/// behind a name that several have.
public struct MallocType: Hashable, Sendable {
  /// Never freed: blocks of the type, and copies of this value, may be anywhere.
  nonisolated(unsafe) let structure: UnsafeMutablePointer<stave_type>

  /// A new type. Some 100 bytes that are not given back; no lock, and no work of the allocator's before its first use.
  ///
  /// - Parameters:
  ///   - name: What the tools show: of its UTF-8, 31 bytes.
  ///   - purpose: For people who read the source, or a core file.
  public init(_ name: String, _ purpose: String = "") {
    // It is nobody's memory, whatever scope it is made in.
    structure = outsideScopes {
      let structure = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
      structure.initialize(to: stave_type())
      structure.pointee.magic = STAVE_TYPE_MAGIC
      structure.pointee.version = 1
      structure.pointee.name = MallocType.text(name)
      structure.pointee.description = MallocType.text(purpose)
      return structure
    }
  }

  /// A type that C declares, by `STAVE_TYPE_DEFINE`: the same one. The structure must stay where it is.
  public init(_ structure: UnsafeMutablePointer<stave_type>) { self.structure = structure }

  /// As it was given.
  public var name: String { structure.pointee.name.map { String(cString: $0) } ?? "" }

  /// Ends the type: the tools do not show it any more. Blocks that are still out are reported on standard error, in one line with
  /// their number and bytes, and stay good, as memory without a type. In open scopes of the type, memory has no type from now on.
  /// Another use makes the type known again, as a new one. No other thread may allocate at that moment in a scope of the type, or by a
  /// call that names it. Takes a lock. Types that live as long as the program need no end.
  public func end() {
    if structure.pointee.internals != nil { Library.functions?.type_unregister?(structure) }
  }

  private static func text(_ text: String) -> UnsafePointer<CChar> {
    var text = text
    return text.withUTF8 { bytes in
      let copy = UnsafeMutableRawPointer.allocate(byteCount: bytes.count + 1, alignment: 1).assumingMemoryBound(to: CChar.self)
      for index in 0..<bytes.count { copy[index] = CChar(bitPattern: bytes[index]) }
      copy[bytes.count] = 0
      return UnsafePointer(copy)
    }
  }
}
