// SPDX-License-Identifier: BSD-2-Clause
//
// The note by which a program says where its root is when no dynamic symbol says it: in a statically linked program, or
// in one that links Stave in without exporting its symbols. CStaveMalloc/start.c emits it, for libstave.so and libstave.a:
//
//     .pushsection .note.stave, "a", @note
//     .balign 4
//     .long  6                        # bytes of the name, with its zero
//     .long  8                        # bytes of the descriptor
//     .long  1                        # type: the root
//     .asciz "Stave"
//     .balign 4
//   1: .quad stave_root_bytes - 1b    # signed distance from this field to the root
//     .popsection
//
// The distance is relative to the field, so it needs no relocation at load time and holds wherever the image lies. The
// linker must be able to compute it: the symbol named there is the hidden one (in a library the exported name,
// `stave_root`, could be preempted). The section is allocated, so the linker gathers it into a PT_NOTE segment of the mapped
// image, and it survives `strip`. Alignment 4 keeps it in one segment with the build id. Linkers that drop unused sections
// (lld, gold, GNU ld) keep notes.

enum StaveNote {
  static let name = "Stave"
  static let rootType: UInt32 = 1
  static let descriptorBytes = 8
}

extension ElfImage {
  /// The roots that the image's notes name, sixteen at most: a program may have several copies of Stave linked in. What points out
  /// of the image is none.
  func rootsFromNotes() throws(InspectionError) -> [UInt] {
    var roots: [UInt] = []
    for header in programHeaders where header.type == Elf.note {
      try target.forEachNote(
        at: address(of: header.virtualAddress), length: header.memoryBytes, alignment: header.alignment
      ) { note throws(InspectionError) in
        guard note.name == StaveNote.name, note.type == StaveNote.rootType, note.descriptorBytes == StaveNote.descriptorBytes
        else { return true }
        let distance = try target.read(Int64.self, at: note.descriptor)
        let address = note.descriptor &+ UInt(bitPattern: Int(distance))
        if contains(address) && !roots.contains(address) { roots.append(address) }
        return roots.count < 16
      }
    }
    return roots
  }
}
