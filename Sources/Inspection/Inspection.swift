// SPDX-License-Identifier: BSD-2-Clause
//
// # Inspection
//
// Looks into a process that runs Stave, from outside, and copies out what it finds there: a process that runs, one that is
// stopped, one that hangs inside malloc, one that is dead and has left a core file. Nothing is asked of the target. It
// takes no part: no thread of it runs for the reader, no lock is taken, no signal sent, no debugger attached, no byte
// allocated. So looking cannot change what is looked at, and works when nothing in the process works any more.
//
// Words
//   target    whose memory is read: `LiveProcess` or `CoreFile`, both a `TargetMemory`
//   mapping   a range of the target's addresses with one backing, as in /proc/PID/maps
//   module    a program or library that is mapped; `base` is where its file's first byte lies
//   image     a module understood as ELF: segments, dynamic symbols, notes
//   root      the structure in the target from which everything of Stave is found; one for each copy of Stave
//
//        argument ──▶ openTarget ──▶ TargetMemory ──▶ findRoot ──▶ RootLocation ──▶ (readers of Stave's structures)
//                                    ▲         ▲        │
//                          LiveProcess         CoreFile └▶ ElfImage, ElfFile
//                    process_vm_readv          pread of the core, or of the
//                    or /proc/PID/mem          module's file if it is the same
//
// Order of tries
//   a live read     process_vm_readv; where that is missing or forbidden, /proc/PID/mem. Decided once, on opening.
//   a core's read   the bytes in the core; the file of an image whose build id agrees; else an error, never zeros.
//   a root          for each module its dynamic symbol, its note; for the program alone, .symtab in its file.
//
// Trust
//   None. A target may be broken (that is why someone looks), hostile, or changing while it is read. Whatever is read is
//   a copy and a claim: sizes are checked before memory is taken for them, sums wrap or are checked, loops over the target's
//   links have a bound, text is made printable before it reaches a terminal. A claim that fails ends in an
//   `InspectionError`, never in a trap. Readers of Stave's structures have to keep to the same rules.
//
// A picture of a running process is not of one moment. Reads of aligned words are whole; anything larger can be torn. Those
// who need figures that agree exactly stop the process first, or read twice until nothing has moved.
//
// Costs, measured in a virtual machine: a single live read 1.7 µs, one of a batch 0.4 µs (the kernel looks up each range's
// page anew, so one large read beats many small ones), a read from a core 0.6 µs; the map of a process with 170 mappings
// 0.16 ms; finding the root among 30 modules 0.6 ms, and 20 ms more where it must be sought in a compiler's .symtab.
//
// Locks: none of the target's. Here one, in `CoreFile`, around its cache of opened files; nothing is called with it held
// that could come back. Targets are immutable otherwise and may be used from several threads.
//
// Known weaknesses
//   - A PID can be taken over by another process between two reads; `LiveProcess.isAlive` notices, single reads do not.
//   - exec in the target replaces the memory under the reader: addresses then fail to read, and the root has to be
//     found again.
//   - A core's files are looked for at the paths where the process had them. For a core from another machine, give the
//     files the same place (a container of the same image).
//   - Only 64-bit little-endian ELF.

import Glibc

/// Opens what a person typed: a PID, or else the path of a core file. A file whose name is a number is opened as "./123".
/// Throws what `LiveProcess(process:)` and `CoreFile(path:)` throw; `usage` for the empty string, and for a word that is
/// neither a number nor a file.
public func openTarget(_ argument: String) throws(InspectionError) -> any TargetMemory {
  if argument.isEmpty { throw .usage("give a PID, the path of a core file, or --name NAME") }
  let isNumber = argument.utf8.allSatisfy { (48...57).contains($0) }
  if isNumber {
    guard let process = Int32(argument) else { throw .usage("\(argument) is too large for a PID") }
    return try LiveProcess(process: process)
  }
  if !argument.contains("/"), access(argument, F_OK) != 0 {
    throw .usage("\(argument) is neither a PID nor a file; for a process's name say --name \(argument)")
  }
  return try CoreFile(path: argument)
}
