// SPDX-License-Identifier: BSD-2-Clause
//
// Where libstave.so is: named by the caller, beside the command, or where `make install` puts it.

import ArgumentParser
import Glibc
import Inspection

enum Library {
  /// Its full path, fit for LD_PRELOAD. Ends the command with status 1 if there is none.
  static func find() throws -> String {
    if let given = getenv("STAVE_LIBRARY").map({ String(cString: $0) }), !given.isEmpty {
      guard let path = readable(given) else { throw missing("STAVE_LIBRARY names \(given): \(String(cString: strerror(errno)))") }
      return try fit(path)
    }
    guard let command = readable("/proc/self/exe") else { throw missing("cannot tell where this command's file is (replaced meanwhile, or no /proc): name the library in STAVE_LIBRARY") }
    let folder = command.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    for candidate in ["/libstave.so", "/../lib/libstave.so.0", "/../lib/libstave.so", "/../lib/stave/libstave.so"] {
      if let path = readable(folder + candidate) { return try fit(path) }
    }
    throw missing("libstave.so is neither in \(folder) nor in ../lib: build it with `make`, or name it in STAVE_LIBRARY")
  }

  /// In front of what is preloaded already.
  static func preload(_ library: String, before others: String?) -> String {
    guard let others, !others.isEmpty else { return library }
    return library + ":" + others
  }

  private static func readable(_ path: String) -> String? {
    guard access(path, R_OK) == 0, let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }

  /// The loader only complains of what it cannot load, and runs the program without. It takes blanks and colons as the ends of
  /// names, and knows no way to quote them.
  private static func fit(_ path: String) throws -> String {
    guard isObject(path) else { throw missing("\(path) is no library: build libstave.so with `make`, or name it in STAVE_LIBRARY") }
    guard path.contains(where: { $0 == " " || $0 == ":" }) else { return path }
    throw missing("\(path) holds a blank or a colon, which LD_PRELOAD cannot carry: copy it elsewhere and name it in STAVE_LIBRARY")
  }

  private static func isObject(_ path: String) -> Bool {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    var mark: UInt32 = 0
    return read(file, &mark, 4) == 4 && mark == 0x464c_457f  // "\u{7f}ELF"
  }

  private static func missing(_ text: String) -> ExitCode {
    printError("stave: " + text.printable)
    return ExitCode(1)
  }
}
