// SPDX-License-Identifier: BSD-2-Clause
//
// Reports of real mistakes in real programs: the stack that they show, with the names that `stave symbolize` gives it; where they go;
// and programs that go on.

import Foundation
import Testing

@testable import StaveCommand
@testable import TestSupport

/// A program of Tests/Reports, compiled. Nil, said aloud: there is no such compiler.
private func build(_ file: String, by compiler: String, _ flags: [String], in folder: Folder) throws -> String? {
  guard let program = find(compiler) else {
    announceSkip("\(file): \(compiler) is not installed")
    return nil
  }
  let source = Place.root.appending(path: "Tests/Reports/\(file)").path
  let ended = try run(program, [source, "-o", folder.file("mistaken")] + flags)
  if !ended.succeeded && file.hasSuffix(".cc") {
    announceSkip("\(file): \(compiler) does not compile it")
    return nil
  }
  try #require(ended.succeeded, ended.report)
  return folder.file("mistaken")
}

@Suite(.enabled(if: Built.hasLibrary)) struct ReportTests {
  private func run(_ program: String, _ arguments: [String], _ options: String = "") throws -> Ended {
    try TestSupport.run(program, arguments, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
  }

  /// The functions that a report names, innermost first.
  private func names(_ report: String, _ arguments: String...) throws -> [String] {
    let folder = Folder()
    let ended = try start(Built.command, ["symbolize", folder.write(report)] + arguments).end()
    #expect(ended.succeeded, ended.report)
    return ended.text.split(separator: "\n").filter { $0.contains("  #") }.map { line in
      let words = line[line.firstIndex(of: "#")!...].split(separator: " ", maxSplits: 2)
      let name = words.count > 2 ? String(words[2]) : ""
      return name.range(of: "+0x").map { String(name[..<$0.lowerBound]) } ?? name
    }
  }

  static let optimized: [(compiler: String, flags: [String])] = [
    ("gcc", ["-O2", "-fomit-frame-pointer"]), ("clang", ["-O2", "-fomit-frame-pointer"]), ("gcc", ["-O0"]), ("clang", ["-Os", "-static-pie"]),
    ("gcc", ["-O2", "-no-pie"]),
  ]

  @Test(arguments: optimized.indices)
  func `a bad free shows who called it, and so on outwards`(variant: Int) throws {
    let folder = Folder()
    let (compiler, flags) = Self.optimized[variant]
    guard !flags.contains("-static-pie"), let program = try build("mistaken.c", by: compiler, flags + ["-pthread", "-Wno-free-nonheap-object"], in: folder) else { return }
    for (role, kind, stack) in [
      ("free_global", "which stave does not own", ["free_global", "main"]), ("free_inside", "16 bytes into the item", ["free_inside", "main"]),
      ("free_twice", "double free", ["free_twice", "main"]), ("free_large_twice", "free already", ["free_large_twice", "main"]),
      ("resize_inside", "realloc()", ["resize_inside", "main"]), ("in_thread", "16 bytes into the item", ["free_inside", "work"]),
      ("in_handler", "which stave does not own", ["free_global", "handle"]),
    ] {
      let ended = try run(program, [role])
      #expect(ended.signal == SIGABRT, "\(role): \(ended.report)")
      #expect(ended.errorText.contains(kind) && ended.errorText.contains("\n  at 20") && ended.errorText.contains("\n  next: "), "\(role): \(ended.report)")
      let found = try names(ended.errorText)
      #expect(found.starts(with: stack), "\(compiler) \(flags) \(role): \(found) \(ended.report)")
    }
    // Guard bytes and item checks together: the header that says so has been filled.
    for options in ["check:1", "redzone:1", "check:1,redzone:1"] {
      let ended = try run(program, ["free_twice"], options)
      #expect(ended.signal == SIGABRT && ended.errorText.contains("bad free: double free"), "\(options): \(ended.report)")
      for (role, call) in [("resize_free", "realloc()"), ("measure_free", "malloc_usable_size()")] {
        let ended = try run(program, [role], options)
        #expect(ended.signal == SIGABRT && ended.errorText.contains("bad free: \(call) of a free block"), "\(options): \(ended.report)")
      }
    }
    let found = try names(run(program, ["in_callback"]).errorText)
    #expect(found.starts(with: ["free_global", "compare"]) && found.contains("in_callback") && found.contains("main"), "\(found)")
  }

  @Test func `a stack that was written over ends the walk, not the report`() throws {
    let folder = Folder()
    guard let program = try build("mistaken.c", by: "gcc", ["-O2", "-pthread", "-fno-stack-protector", "-w"], in: folder) else { return }
    let ended = try run(program, ["on_a_smashed_stack"])
    #expect(ended.signal == SIGABRT && ended.errorText.contains("\n  next: "), ended.report)
    #expect(try names(ended.errorText).starts(with: ["free_global"]), ended.report)
  }

  @Test(arguments: ["g++", "clang++"]) func `functions of C++ have their names`(compiler: String) throws {
    let folder = Folder()
    guard let program = try build("mistaken.cc", by: compiler, ["-O2", "-fomit-frame-pointer"], in: folder) else { return }
    let ended = try run(program, [])
    #expect(ended.signal == SIGABRT)
    let found = try names(ended.errorText)
    // gcc makes a version of its own of the first, and says so.
    #expect(found.count > 2 && found[0].hasPrefix("shop::Cart<long>::drop(long*)") && found[1...2] == ["shop::Visit::~Visit()", "main"], "\(found) \(ended.report)")
  }

  @Test func `functions of Swift have their names`() throws {
    let folder = Folder()
    guard let program = try build("mistaken.swift", by: "swiftc", ["-O"], in: folder) else { return }
    let ended = try run(program, [])
    #expect(ended.signal == SIGABRT)
    let found = try names(ended.errorText)
    #expect(found.first == "mistaken.Basket.spill(at: Swift.Int) -> ()", "\(found) \(ended.report)")
    #expect(found.dropFirst().contains { $0.contains("mistaken.visit") } && found.contains("main"), "\(found)")
  }

  @Test func `symbols that are kept apart are found by build id; a file that is another now is not believed`() throws {
    let folder = Folder()
    guard let objcopy = find("objcopy"), let program = try build("mistaken.c", by: "gcc", ["-O2", "-g", "-pthread", "-w", "-Wl,--build-id=sha1"], in: folder) else { return }
    let report = try run(program, ["free_global"]).errorText
    let id = try #require(report.firstMatch(of: /\(build id ([0-9a-f]+)\)/)?.1)
    let apart = folder.file("symbols/.build-id/\(id.prefix(2))")
    try FileManager.default.createDirectory(atPath: apart, withIntermediateDirectories: true)
    #expect(try TestSupport.run(objcopy, ["--only-keep-debug", program, "\(apart)/\(id.dropFirst(2)).debug"]).succeeded)
    #expect(try TestSupport.run(objcopy, ["--strip-all", program]).succeeded)
    #expect(try !names(report).contains("free_global"), "a stripped program")
    #expect(try names(report, "--debug", folder.file("symbols")).starts(with: ["free_global", "main"]))
    // Another program takes its place.
    guard let other = try build("mistaken.c", by: "gcc", ["-O0", "-pthread", "-w", "-Wl,--build-id=sha1"], in: folder) else { return }
    #expect(other == program)
    let believed = try names(report)
    #expect(!believed.contains("free_global") && !believed.contains("main"), "\(believed)")
    #expect(try names(report, "--debug", folder.file("symbols")).starts(with: ["free_global", "main"]))
  }

  @Test func `symbols that are kept apart are found by the link in the program, in three places, if they are the ones it means`() throws {
    let folder = Folder()
    guard let objcopy = find("objcopy"), let program = try build("mistaken.c", by: "gcc", ["-O2", "-g", "-pthread", "-w", "-Wl,--build-id=none"], in: folder) else { return }
    let apart = folder.file("apart.debug"), below = folder.file("debug") + URL(filePath: program).deletingLastPathComponent().path
    #expect(try TestSupport.run(objcopy, ["--only-keep-debug", program, apart]).succeeded)
    #expect(try TestSupport.run(objcopy, ["--strip-all", "--add-gnu-debuglink=\(apart)", program]).succeeded)
    let report = try run(program, ["free_global"]).errorText
    #expect(report.contains("free() of ") && !report.contains("mistaken+0x0 ("), "\(report)")
    let files = FileManager.default
    for place in [folder.file(".debug"), below] { try files.createDirectory(atPath: place, withIntermediateDirectories: true) }
    for place in [apart, folder.file(".debug") + "/apart.debug", below + "/apart.debug"] {
      if place != apart { try files.moveItem(atPath: apart, toPath: place) }
      #expect(try names(report, "--debug", folder.file("debug")).starts(with: ["free_global", "main"]), "\(place)")
      if place != apart { try files.moveItem(atPath: place, toPath: apart) }
    }
    // A byte more: another file.
    let handle = try #require(FileHandle(forWritingAtPath: apart))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data([0]))
    try handle.close()
    #expect(try !names(report).contains("free_global"))
    try files.removeItem(atPath: apart)
    #expect(try !names(report).contains("free_global"))
  }

  @Test func `of a process that is there the program is found though its file is gone`() throws {
    let folder = Folder()
    guard let program = try build("mistaken.c", by: "gcc", ["-O2", "-pthread", "-w"], in: folder) else { return }
    let process = try Started(program, ["free_global", "stay"], environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "onreport:continue"])
    #expect(wait { process.printed.contains("went on") })
    try FileManager.default.removeItem(atPath: program)
    #expect(try names(process.complained).starts(with: ["free_global", "main"]))
    #expect(try stave("get", "\(process.id)", "vm.debug.reports").text == "vm.debug.reports: 1\n")
  }

  @Test func `where the process goes on after a report, the call does nothing, and is counted`() throws {
    let folder = Folder()
    guard let program = try build("mistaken.c", by: "gcc", ["-O2", "-pthread", "-w"], in: folder) else { return }
    for role in ["free_global", "free_inside", "free_twice", "free_large_twice", "resize_inside", "in_callback", "in_thread", "in_handler"] {
      let ended = try run(program, [role], "onreport:continue")
      #expect(ended.succeeded && ended.text == "went on\n" && ended.errorText.contains("\n  next: "), "\(role): \(ended.report)")
    }
    // Nobody reads what is said: that ends no program.
    let unheard = try run(program, ["to_nobody"], "onreport:continue")
    #expect(unheard.succeeded && unheard.text == "went on\n", unheard.report)
    #expect(try run(program, ["to_nobody"]).signal == SIGABRT)
    let ended = try run(program, ["many"], "onreport:continue")
    #expect(ended.succeeded && ended.errorText.components(separatedBy: "\n  next: ").count == 1001, "a thousand are written")
    #expect(ended.errorText.hasSuffix("further reports are counted, not written\n"))
    // Set while it runs.
    let process = try Started(program, ["none", "stay"], environment: ["LD_PRELOAD": Built.library])
    #expect(wait { process.printed.contains("went on") })
    #expect(try stave("get", "\(process.id)", "stave.onreport").text == "stave.onreport: abort\n")
  }

  @Test func `reports of threads that make them at once are whole`() throws {
    let folder = Folder()
    guard let program = try build("mistaken.c", by: "gcc", ["-O2", "-pthread", "-w"], in: folder) else { return }
    let ended = try run(program, ["many_threads"], "onreport:continue")
    #expect(ended.succeeded, ended.report)
    let reports = ended.errorText.components(separatedBy: "stave[").dropFirst()
    #expect(reports.count == 200)
    for report in reports {
      let lines = report.split(separator: "\n")
      let frames = lines.filter { $0.hasPrefix("  #") }
      #expect(frames.count >= 3 && lines.count == frames.count + 3 && lines.last!.hasPrefix("  next: "), "\(report)")
    }
  }

  @Test func `reports go to a file, whose path may have the process's number; where that cannot be, to standard error`() throws {
    let folder = Folder()
    guard let program = try build("mistaken.c", by: "gcc", ["-O2", "-pthread", "-w"], in: folder) else { return }
    let process = try Started(program, ["in_callback"], environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "report:\(folder.path)/log.%p"])
    let ended = process.end()
    #expect(ended.signal == SIGABRT && ended.errorText.isEmpty, ended.report)
    let text = String(decoding: FileManager.default.contents(atPath: folder.file("log.\(process.id)")) ?? Data(), as: UTF8.self)
    #expect(text.hasPrefix("stave[\(process.id)/") && text.contains("\n  next: "), "\(text)")
    #expect(try names(text).starts(with: ["free_global", "compare"]))
    let attributes = try FileManager.default.attributesOfItem(atPath: folder.file("log.\(process.id)"))
    #expect(attributes[.posixPermissions] as? Int == 0o600)
    // They are added.
    for _ in 0..<2 { _ = try run(program, ["many"], "onreport:continue,report:\(folder.path)/all") }
    let all = String(decoding: FileManager.default.contents(atPath: folder.file("all")) ?? Data(), as: UTF8.self)
    #expect(all.components(separatedBy: "\n  next: ").count == 2001)
    let nowhere = try run(program, ["free_global"], "report:\(folder.path)/none/log")
    #expect(nowhere.errorText.contains("which stave does not own") && nowhere.errorText.contains("\n  next: "))
    #expect(mkfifo(folder.file("unread"), 0o600) == 0)
    let unread = try run(program, ["free_global"], "report:\(folder.path)/unread")
    #expect(unread.signal == SIGABRT && unread.errorText.contains("which stave does not own"), unread.report)
    #expect(try run(program, ["free_global"], "report:relative").errorText.contains("relative is no value for report"))
  }

  @Test func `reports go to the system's log, line by line`() throws {
    let folder = Folder()
    guard let unshare = find("unshare"), let program = try build("mistaken.c", by: "gcc", ["-O2", "-pthread", "-w"], in: folder) else { return }
    let script = "mount -t tmpfs none /dev && exec \(program) log \(program) free_global"
    let ended = try TestSupport.run(
      unshare, ["-rm", "sh", "-c", script], environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "report:syslog"])
    guard ended.succeeded else { return announceSkip("syslog: no /dev of its own: \(ended.report)") }
    let lines = ended.text.split(separator: "\n")
    #expect(lines.first?.hasPrefix("<11>stave[") == true && lines.first?.contains("bad free") == true, ended.report)
    #expect(lines.dropFirst().allSatisfy { $0.hasPrefix("<11>stave[") && $0.contains("]:   ") } && lines.last?.contains("next: ") == true, ended.report)
    #expect(ended.errorText.isEmpty, ended.report)
    let found = try names(ended.text)
    #expect(found.starts(with: ["free_global", "main"]), "\(found)")
    // More lines than the log's queue has room for, while its reader reads.
    let long = try TestSupport.run(
      unshare, ["-rm", "sh", "-c", "mount -t tmpfs none /dev && exec \(program) log \(program) free_twice"],
      environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "report:syslog,memguard:1"])
    #expect(long.text.split(separator: "\n").count > 11 && long.text.contains("]:   free:") && long.text.contains("next: ") && long.errorText.isEmpty, long.report)
  }

  // MARK: - The command

  @Test func `lines of frames are known, whatever stands before them; all others are left alone`() throws {
    let line = "Nov 21 host stave[7]:   #12 0x7f00 /a b/c+d.so+0x1f (build id 0a1b)"
    let frame = try #require(FrameLine(line))
    #expect(frame.head == "Nov 21 host stave[7]:   #12 0x7f00 " && frame.path == "/a b/c+d.so" && frame.place == 0x1f && frame.buildID == "0a1b")
    for other in ["", "#", "#1", "# 0x1 a+0x2", "#1 7f00 a+0x2", "#1 0x7f00", "#1 0x7f00 a", "#1 0x7f00 a+2", "#1 0xzz a+0x1", "stave[1/2]: bad free: free() of 0x1"] {
      #expect(FrameLine(other) == nil, "\(other)")
    }
    let folder = Folder()
    let text = "no frame\n  #0 0x10 /not/there+0x10\n\n  #1 0x20 \(folder.write("no program"))+0x1\nlast"
    #expect(try start(Built.command, ["symbolize", folder.write(text, "log")]).end().text == text + "\n")
    #expect(try start(Built.command, ["symbolize"], input: folder.write(text, "log")).end().text == text + "\n")
    #expect(try stave("symbolize", folder.file("none")).status == 1)
    for words in [["symbolize", folder.write("", "empty")], ["symbolize"]] {
      let none = try start(Built.command, words).end()
      #expect(none.succeeded && none.text.isEmpty && none.errorText.isEmpty, none.report)
    }
    for path in ["/", "/proc/self/mem"] {
      let refused = try stave("symbolize", path)
      #expect(refused.status == 1 && refused.text.isEmpty && refused.errorText.hasPrefix("stave: cannot read \(path): "), refused.report)
    }
    let refused = try start(Built.command, ["symbolize", "-"], input: "/").end()
    #expect(refused.status == 1 && refused.errorText == "stave: cannot read standard input: Is a directory.\n", refused.report)
  }

  @Test func `names are as the language writes them`() {
    #expect(demangled("_ZN4shop4CartIlE4dropEPl") == "shop::Cart<long>::drop(long*)")
    #expect(demangled("$s8mistaken6BasketC5spill2atySi_tF") == "mistaken.Basket.spill(at: Swift.Int) -> ()")
    #expect(demangled("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE") == "core::fmt::Write::write_fmt")
    #expect(demangled("_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE") == "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop")
    for plain in ["main", "_start", "_Z", "$", "$s", "_R", "_RNvC4main9run", "_RNvB_3run", "_RINvC1a1bE_", ""] { #expect(demangled(plain) == plain) }
  }

  /// Made by rustc 1.95 of a program of our own; compared with what llvm-cxxfilt says, as were the 20,000 names in rustc itself.
  static let rust = [
    "_RNvC4main3run": "main::run",
    "_RINvCsjMaewn57Afh_1t3genDG_INtNtNtCsgEmfK2I1SDS_4core3ops8function2FnTRL0_hEEp6OutputbEL_EB2_":
      "t::gen::<dyn for<'a> core::ops::function::Fn<(&'a u8,), Output = bool>>",
    "_RINvCsjMaewn57Afh_1t3genSQeEB2_": "t::gen::<[&mut str]>",
    "_RINvCsjMaewn57Afh_1t4calllNCNvB2_4main0EB2_": "t::call::<i32, t::main::{closure#0}>",
    "_RINvMs2_NtCsgEmfK2I1SDS_4core3fmtNtB6_9Arguments3newKj10_Kj5_ECsjMaewn57Afh_1t": "<core::fmt::Arguments>::new::<16, 5>",
    "_RINvNtNtCsjMaewn57Afh_1t4shopu9gre_6ka8iu10berall_2yaKcdf_Kb1_Kln5_EB6_": "t::shop::größe::überall::<'ß', true, -5>",
    "_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtCslNYArtu3iFV_5alloc5boxed3BoxDNtNtNtNtB4_4iter6traits8iterator8Iteratorp4ItemReNtNtB4_6marker4SendEL_EECsjMaewn57Afh_1t":
      "core::ptr::drop_in_place::<alloc::boxed::Box<dyn core::iter::traits::iterator::Iterator<Item = &str> + core::marker::Send>>",
    "_RINvC1a1bFUKCPaOdEzQjTEE": "a::b::<unsafe extern \"C\" fn(*const i8, *mut f64) -> !, &mut usize, ()>",
  ]

  private static func base62(_ number: Int) -> String { number == 0 ? "_" : digits(number - 1) + "_" }
  private static func digits(_ number: Int) -> String {
    let letter = String(Array("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")[number % 62])
    return number < 62 ? letter : digits(number / 62) + letter
  }

  @Test func `Rust's newer names too, and what is damaged comes to an end`() {
    for (name, text) in Self.rust { #expect(demangled(name) == text) }
    var generator = Generator(77)
    let letters = Array("_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8), names = Self.rust.keys.sorted()
    for _ in 0..<Stage.steps(20_000, soak: 1_000_000) {
      var name = Array(names[generator.below(names.count)].utf8)
      for _ in 0...generator.below(4) where name.count > 3 {
        let place = 2 + generator.below(name.count - 2)
        switch generator.below(3) {
        case 0: name[place] = letters[generator.below(letters.count)]
        case 1: name.remove(at: place)
        default: name.insert(letters[generator.below(letters.count)], at: place)
        }
      }
      #expect(demangled(String(decoding: name, as: UTF8.self)).utf8.count < 1 << 15)
    }
    // Types of two parts that both name the one before: twice as long with each.
    var doubling = "_RINvC1a1b", before = ""
    for _ in 0..<60 {
      let start = doubling.utf8.count - 2
      doubling += before.isEmpty ? "TaaE" : "T\(before)\(before)E"
      before = "B\(Self.base62(start))"
    }
    doubling += "E"
    #expect(demangled(doubling) == doubling)
    #expect(demangled("_RINvC1a1bTaaETB7_B7_EE") == "a::b::<(i8, i8), ((i8, i8), (i8, i8))>")
    let deep = "_RINvC1a1b" + String(repeating: "S", count: 10_000) + "aE"
    #expect(demangled(deep) == deep)
  }
}
