// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of this target share: a child to look at, the error of a look, and all looks at once.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

extension Started {
  /// A child that sleeps, past its start: everything that it maps is mapped.
  static func sleeping() throws -> Started {
    let child = try Started("/bin/sleep", ["1000"])
    for _ in 0..<30_000 {
      // The name and state change with the exec, and with the system call that it then waits in.
      if let entry = try? ProcessEntry(process: child.id), entry.name == "sleep", entry.state == "S" { break }
      usleep(1000)
    }
    return child
  }
}

/// The path of a core file of the child, which goes on; nil, said aloud, if there is no gdb to write one.
func writeCore(of child: Started, in folder: Folder) -> String? {
  guard let gdb = find("gdb") else {
    announceSkip("core files by gdb: gdb is not installed")
    return nil
  }
  let path = folder.file("core")
  _ = try? run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(path)", "-p", "\(child.id)"])
  guard access(path, R_OK) == 0 else {
    announceSkip("core files by gdb: gdb could not write one (ptrace forbidden?)")
    return nil
  }
  return path
}

/// The error that `body` throws, nil if it throws none.
func errorOf(_ body: () throws(InspectionError) -> Void) -> InspectionError? {
  do throws(InspectionError) {
    try body()
    return nil
  } catch { return error }
}

/// Does with a target all that a command would do, and ignores what it says: for targets that are garbage.
func exercise(_ target: any TargetMemory) {
  _ = target.executablePath
  _ = target.name
  _ = try? findRoot(in: target)
  _ = try? findRoot(in: target, symbol: "malloc")
  for mapping in ((try? target.mappings()) ?? []).prefix(2000) {
    _ = try? target.read(UInt64.self, at: mapping.start)
    _ = try? target.read(UInt64.self, at: mapping.end &- 8)
    _ = try? target.read(InlineArray<4, UInt64>.self, at: mapping.end &- 16)
    _ = try? target.readString(at: mapping.start)
  }
  _ = try? target.read(UInt64.self, at: [0, 1, UInt.max, UInt.max - 7, 1 << 63])
}
