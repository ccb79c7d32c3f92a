// SPDX-License-Identifier: BSD-2-Clause
//
// Names of functions: whose file is believed.

import Foundation
import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

@Suite struct SymbolizerTests {
  @Test func `a program without a build id is not taken for its libraries while it is there`() throws {
    guard let compiler = find("clang", "gcc", "cc") else { return announceSkip("names of functions: no compiler") }
    let folder = Folder(), program = folder.file("sleeper")
    let source = folder.write("#include <unistd.h>\nint main(void) { write(1, \"ready\", 5); sleep(60); return 0; }\n", "sleeper.c")
    let built = try run(compiler, [source, "-Wl,--build-id=none", "-o", program])
    try #require(built.succeeded, built.report)
    let sleeper = try Started(program, [])
    for _ in 0..<6000 where !sleeper.printed.contains("ready") { usleep(10_000) }
    let function = UInt(bitPattern: try #require(dlsym(nil, "qsort")))
    // START-END PERMISSIONS OFFSET DEVICE INODE PATH
    let lines = kernelText("/proc/self/maps").split(separator: "\n").map { $0.split(separator: " ") }
    func bounds(_ line: [Substring]) -> [UInt] { line[0].split(separator: "-").map { UInt($0, radix: 16)! } }
    let library = String(try #require(lines.first { bounds($0)[0] <= function && function < bounds($0)[1] }?.last))
    let offset = UInt64(function - bounds(try #require(lines.first { $0.last.map(String.init) == library }))[0])
    let id = try #require(try ElfFile(FileBytes(path: library)).buildID()?.hexadecimalDigits)
    let found = Symbolizer(debugFolders: []).function(at: offset, in: library, buildID: id, process: sleeper.id)
    #expect(found?.name.hasPrefix("qsort") == true && found?.offset == 0, "\(String(describing: found))")
  }
}
