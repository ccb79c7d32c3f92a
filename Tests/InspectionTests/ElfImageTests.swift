// SPDX-License-Identifier: BSD-2-Clause
//
// Symbols in the memory of this process, and roots of small programs that are compiled for the purpose: with the dynamic
// symbol, with the note, static with and without it.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

@Suite struct ElfImageTests {
  private func module(_ name: String, in target: LiveProcess) throws -> Module {
    try #require(target.modules(among: try target.mappings()).first { $0.path.contains(name) })
  }

  @Test func findsWhatTheLoaderFinds() throws {
    let own = try LiveProcess(process: getpid())
    let image = try ElfImage(in: own, at: try module("/libc.so", in: own).base)
    let library = dlopen("libc.so.6", RTLD_NOW)
    for name in ["malloc", "free", "getpid", "qsort", "fputs", "environ"] {
      #expect(try image.address(ofDynamicSymbol: name) == UInt(bitPattern: dlsym(library, name)))
    }
    for name in ["", "mallo", "malloc ", "stave_root", "no_such_symbol_at_all"] {
      #expect(try image.address(ofDynamicSymbol: name) == nil)
    }
    #expect(try image.rootsFromNotes().isEmpty)
  }

  @Test func everyModuleOfThisProcessIsUnderstood() throws {
    let own = try LiveProcess(process: getpid())
    let mappings = try own.mappings()
    let modules = own.modules(among: mappings)
    #expect(modules.count > 3)
    // Not the libraries that other tests load and unload meanwhile.
    for module in modules where !module.path.contains("/stave-callers-") {
      let image = try ElfImage(in: own, at: module.base)
      #expect(image.low <= module.base && module.base < image.high)
      let file = try #require(own.file(of: module))
      #expect(image.buildID() == (try ElfFile(file).buildID()))
      #expect(try image.address(ofDynamicSymbol: "no_such_symbol_at_all") == nil)
    }
    // The kernel's own image, whose dynamic section nobody has relocated.
    if let vdso = mappings.first(where: { $0.path == "[vdso]" }) {
      let image = try ElfImage(in: own, at: vdso.start)
      let address = try #require(try image.address(ofDynamicSymbol: "__vdso_clock_gettime"))
      #expect(vdso.contains(address))
    }
  }

  @Test func whatIsNoImageIsAnError() throws {
    let own = try LiveProcess(process: getpid())
    var zeros = InlineArray<512, UInt8>(repeating: 0)
    let address = withUnsafeMutablePointer(to: &zeros) { UInt(bitPattern: $0) }
    guard case .badImage = errorOf({ () throws(InspectionError) in _ = try ElfImage(in: own, at: address) }) else {
      Issue.record("zeros are no image")
      return
    }
  }

  /// A byte string as a source: its addresses are its offsets.
  struct Bytes: ByteSource {
    var bytes: [UInt8]
    func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
      let (end, overflow) = address.addingReportingOverflow(UInt(buffer.count))
      guard !overflow, end <= bytes.count else { throw .shortRead(address: address, wanted: buffer.count, got: 0) }
      bytes[Int(address)..<Int(end)].withUnsafeBytes { buffer.copyMemory(from: $0) }
    }
  }

  @Test func damagedImagesEndInErrors() throws {
    // The vdso is a whole, small image that is laid out alike in file and memory.
    let own = try LiveProcess(process: getpid())
    guard let vdso = try own.mappings().first(where: { $0.path == "[vdso]" }) else { return announceSkip("damagedImages: no vdso") }
    let intact = try own.readArray(UInt8.self, at: vdso.start, count: Int(vdso.length), limit: 1 << 20)
    #expect(try ElfImage(in: Bytes(bytes: intact), at: 0).address(ofDynamicSymbol: "__vdso_getcpu") != nil)
    var numbers = Generator(4)
    let extremes: [UInt8] = [0, 1, 0x7f, 0x80, 0xff]
    for _ in 0..<3000 {
      var bytes = intact
      for _ in 0..<Int.random(in: 1...12, using: &numbers) {
        // Mostly the headers, where damage does most.
        let limit = Bool.random(using: &numbers) ? 1024 : bytes.count
        bytes[Int.random(in: 4..<limit, using: &numbers)] = extremes.randomElement(using: &numbers)!
      }
      guard let image = try? ElfImage(in: Bytes(bytes: bytes), at: 0) else { continue }
      _ = try? image.address(ofDynamicSymbol: "__vdso_getcpu")
      _ = try? image.address(ofDynamicSymbol: "stave_root")
      _ = try? image.rootsFromNotes()
      _ = image.buildID()
    }
  }

  @Test func damagedFilesEndInErrors() throws {
    guard let compiler = find("clang", "gcc", "cc") else { return announceSkip("damagedFiles: no C compiler") }
    let folder = Folder()
    let source = folder.write("char stave_root[64]; int main(void) { return 0; }\n", "main.c")
    try #require(run(compiler, ["-o", folder.path + "/main", source]).succeeded)
    let intact = try #require(readSmallFile(folder.path + "/main"))
    let whole = try ElfFile(FileBytes(path: folder.path + "/main"))
    #expect(try whole.value(ofSymbol: "stave_root") != nil)
    #expect(try whole.value(ofSymbol: "stave_roo") == nil)
    #expect(try whole.value(ofSymbol: "tave_root") == nil)
    var numbers = Generator(5)
    let sections = Int(whole.header.sectionHeaders)
    for _ in 0..<500 {
      var bytes = intact
      for _ in 0..<8 {
        let range = Bool.random(using: &numbers) ? 4..<64 : sections..<bytes.count
        bytes[Int.random(in: range, using: &numbers)] = UInt8.random(in: 0...255, using: &numbers)
      }
      guard let file = try? ElfFile(FileBytes(path: folder.write(bytes, "damaged"))) else { continue }
      _ = file.buildID()
      _ = try? file.value(ofSymbol: "stave_root")
    }
  }

  static let note = """
    __asm__(".pushsection .note.stave, \\"a\\", @note\\n.balign 4\\n.long 6, 8, 1\\n.asciz \\"Stave\\"\\n.balign 4\\n"
            "1: .quad stave_root_here - 1b\\n.popsection");
    """

  struct Program: Sendable {
    var name: String
    var flags: [String]
    var hasNote = false
    var evidence: RootLocation.Evidence
  }
  static let programs = [
    Program(name: "exported", flags: ["-rdynamic"], evidence: .dynamicSymbol),
    Program(name: "exported-old-hash", flags: ["-rdynamic", "-Wl,--hash-style=sysv"], evidence: .dynamicSymbol),
    Program(name: "note", flags: ["-s"], hasNote: true, evidence: .note),
    Program(name: "note-pie", flags: ["-fPIE", "-pie"], hasNote: true, evidence: .note),
    Program(name: "static", flags: ["-static"], evidence: .symbolTable),
    Program(name: "static-note", flags: ["-static", "-s"], hasNote: true, evidence: .note),
    Program(name: "plain", flags: [], evidence: .symbolTable),
    Program(name: "plain-no-pie", flags: ["-fno-pie", "-no-pie"], evidence: .symbolTable),
  ]

  @Test(arguments: programs) func findsTheRoot(of program: Program) throws {
    guard let compiler = find("clang", "gcc", "cc") else { return announceSkip("findsTheRoot: no C compiler") }
    let folder = Folder()
    let text = """
      #include <unistd.h>
      char stave_root[4096] __attribute__((aligned(64))) = "STAVE, THE ROOT";
      extern char stave_root_here[4096] __attribute__((alias("stave_root"), visibility("hidden")));
      \(program.hasNote ? Self.note : "")
      int main(void) { pause(); return stave_root_here[0]; }
      """
    let path = folder.path + "/" + program.name
    guard try run(compiler, program.flags + ["-o", path, folder.write(text, "main.c")]).succeeded else {
      return announceSkip("findsTheRoot: this system cannot compile \(program.name)")
    }
    let child = try Started(path)
    for _ in 0..<30_000 {
      if let entry = try? ProcessEntry(process: child.id), entry.state == "S", entry.name == program.name.prefix(15) { break }
      usleep(1000)
    }
    let target = try LiveProcess(process: child.id)
    let roots = try findRoot(in: target)
    #expect(roots.count == 1)
    #expect(roots[0].evidence == program.evidence && roots[0].modulePath.hasSuffix("/" + program.name))
    #expect(try target.readString(at: roots[0].address, limit: 64) == "STAVE, THE ROOT")
  }
}
