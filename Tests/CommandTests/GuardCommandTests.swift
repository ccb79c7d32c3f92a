// SPDX-License-Identifier: BSD-2-Clause
//
// `stave guard` on a program that works: guards are switched on, aimed and off again from outside, and a mistake that comes then is
// caught.

import Foundation
import Testing

@testable import Exporters
@testable import Inspection
@testable import StaveCommand
@testable import TestSupport

/// A program that has a block, waits for a file, takes another, frees the first, touches it, and writes behind the second.
private func waiting(_ options: String = "") throws -> (process: Started, folder: Folder)? {
  guard let compiler = find("gcc", "clang", "cc") else {
    announceSkip("programs that wait: no compiler")
    return nil
  }
  let folder = Folder()
  let text = """
    #include <stdio.h>
    #include <stdlib.h>
    #include <unistd.h>
    int main(int count, char **words) {
      volatile char *early = malloc(100);
      puts("ready");
      fflush(stdout);
      while (access(words[1], F_OK) != 0) { free(malloc(200)); usleep(5000); }
      volatile char *late = malloc(100);
      free((void *)early);
      early[20] = 1;
      free(malloc(20));
      late[count == 2 ? 112 : 0] = 1;
      puts("end");
    }
    """
  let built = try run(compiler, ["-O1", "-w", "-fno-builtin", folder.write(text, "main.c"), "-o", folder.file("patient")])
  #expect(built.succeeded, built.report)
  let started = try Started(folder.file("patient"), [folder.file("go")], environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
  #expect(wait { started.printed.contains("ready") }, "\(started.complained)")
  return (started, folder)
}

/// A program that waits for a file, and then writes one byte behind a block and frees it, or frees a block that it has freed.
private func mistaken(_ role: String, _ options: String = "") throws -> (process: Started, folder: Folder)? {
  guard let compiler = find("gcc", "clang", "cc") else {
    announceSkip("programs that wait: no compiler")
    return nil
  }
  let folder = Folder()
  let text = """
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    int main(int count, char **words) {
      puts("ready");
      fflush(stdout);
      while (access(words[1], F_OK) != 0) { free(malloc(200)); usleep(5000); }
      volatile char *it = malloc(112), *other = malloc(112);
      if (!strcmp(words[2], "beyond")) it[112] = 1;
      free((void *)it);
      free((void *)other);
      if (!strcmp(words[2], "twice")) free((void *)it);
      puts("end");
    }
    """
  let built = try run(compiler, ["-O1", "-w", "-fno-builtin", folder.write(text, "main.c"), "-o", folder.file("mistaken")])
  #expect(built.succeeded, built.report)
  let started = try Started(folder.file("mistaken"), [folder.file("go"), role], environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
  #expect(wait { started.printed.contains("ready") }, "\(started.complained)")
  return (started, folder)
}

@Suite(.enabled(if: Built.hasLibrary)) struct GuardCommandTests {
  @Test func `guards switched on in a running program catch what it does then, and let be what was there before`() throws {
    guard let (process, folder) = try waiting() else { return }
    let said = try stave("guard", "\(process.id)", "--on")
    #expect(said.succeeded && said.text.contains("stave.memguard: 0 -> 1"), said.report)
    let shown = try stave("guard", "\(process.id)").text
    #expect(shown.contains("vm.memguard.frequency: 1\n") && shown.contains("vm.memguard.desc: all\n") && shown.contains("vm.memguard.mapsize: "), "\(shown)")
    _ = folder.write("", "go")
    let ended = process.end()
    #expect(ended.signal == SIGABRT && ended.errorText.contains("12 bytes behind the end of the block at") && !ended.text.contains("end"), ended.report)
  }

  @Test func `where one wish stays pending the others are not asked for, and it is said`() throws {
    guard let (process, folder) = try waiting() else { return }
    kill(process.id, SIGSTOP)
    #expect(wait { (try? ProcessEntry(process: process.id))?.state == "T" })
    let said = try stave("guard", "\(process.id)", "--min", "500")
    #expect(said.status == 1 && said.text.contains("stave.memguard_type: pending: "), said.report)
    #expect(said.errorText.contains("not asked for the rest (stave.memguard_min, stave.memguard_max, stave.memguard_side, stave.memguard)"), said.report)
    kill(process.id, SIGCONT)
    let again = try stave("guard", "\(process.id)", "--min", "500")
    #expect(again.succeeded && again.text.contains("stave.memguard: 0 -> 1"), again.report)
    // Of 500 bytes it has none: guards are on, and no block is guarded yet.
    let looked = try stave("leaks", "\(process.id)")
    #expect(looked.text.contains("looked at") && looked.errors.isEmpty, looked.report)
    withExtendedLifetime(folder) {}
  }

  @Test func `a library's memory alone, in a program that did not count for libraries`() throws {
    guard let (process, folder) = try waiting() else { return }
    let said = try stave("guard", "\(process.id)", "--library", "patient", "--min", "50")
    #expect(said.succeeded && said.text.contains("stave.types: none -> library") && said.text.contains("-> patient"), said.report)
    _ = folder.write("", "go")
    let ended = process.end()
    #expect(ended.signal == SIGABRT && ended.errorText.contains("of 100 bytes, of type patient"), ended.report)
  }

  @Test func `aimed elsewhere, or switched off again, nothing is caught; what is still guarded is freed well`() throws {
    for words in [["--type", "images+malloc-64"], ["--max", "99"], ["--one-in", "1000000000"], ["--off"]] {
      guard let (process, folder) = try waiting("memguard:1,memguard_max:100") else { return }
      let said = try stave(["guard", "\(process.id)"] + words)
      #expect(said.succeeded, said.report)
      let live = try stave("get", "\(process.id)", "vm.memguard").text
      #expect(live.contains("vm.memguard.live: 1\n") || live.range(of: "vm.memguard.live: [1-9]", options: .regularExpression) != nil, "\(live)")
      _ = folder.write("", "go")
      let ended = process.end()
      // The early block is guarded, so that its use after free is.
      #expect(ended.signal == SIGABRT && ended.errorText.contains("20 bytes into the block") && ended.errorText.contains("freed"), ended.report)
    }
  }

  @Test func `guard bytes and item checks are switched by the same command, and leave guards by pages as they are`() throws {
    struct Way {
      var words: [String], said: [String], role: String, report: String?
    }
    for way in [
      Way(words: ["--redzone", "1"], said: ["stave.redzone: 0 -> 1"], role: "beyond", report: "redzone"),
      Way(words: ["--redzone", "1", "--library", "mistaken"], said: ["stave.types: none -> library", "-> mistaken", "stave.redzone: 0 -> 1"], role: "beyond", report: "mistaken"),
      Way(words: ["--check", "1"], said: ["stave.check: 0 -> 1"], role: "twice", report: "double free"),
      Way(words: ["--redzone", "1", "--type", "nobody"], said: ["-> nobody", "stave.redzone: 0 -> 1"], role: "beyond", report: nil),
      Way(words: ["--check", "1", "--redzone", "1000000000"], said: ["stave.redzone: 0 -> 1000000000", "stave.check: 0 -> 1"], role: "twice", report: "double free"),
      Way(words: ["--check", "1", "--on"], said: ["stave.check: 0 -> 1", "stave.memguard: 0 -> 1"], role: "twice", report: "double free"),
    ] {
      guard let (process, folder) = try mistaken(way.role) else { return }
      let said = try stave(["guard", "\(process.id)"] + way.words)
      #expect(said.succeeded && way.said.allSatisfy { said.text.contains($0) }, said.report)
      let guards = try stave(["get", "\(process.id)", "stave.memguard"]).text
      #expect(guards == "stave.memguard: \(way.words.contains("--on") ? 1 : 0)\n")
      let shown = try stave(["guard", "\(process.id)"]).text
      #expect(shown.contains("vm.memguard.") && shown.contains("vm.redzone.blocks: ") && shown.contains("vm.debug.checked: "), "\(shown)")
      _ = folder.write("", "go")
      let ended = process.end()
      if let report = way.report {
        #expect(ended.signal == SIGABRT && ended.errorText.contains(report) && !ended.text.contains("end"), ended.report)
      } else {
        #expect(ended.succeeded && ended.text.contains("end") && ended.errorText.isEmpty, ended.report)
      }
    }
    // And off, all of it.
    for role in ["beyond", "twice"] {
      guard let (process, folder) = try mistaken(role, "redzone:1,check:1,memguard:1000000000") else { return }
      let said = try stave(["guard", "\(process.id)", "--off"])
      #expect(said.succeeded, said.report)
      for line in ["stave.memguard: 1000000000 -> 0", "stave.redzone: 1 -> 0", "stave.check: 1 -> 0"] { #expect(said.text.contains(line), said.report) }
      _ = folder.write("", "go")
      let ended = process.end()
      #expect(role == "twice" || ended.succeeded && ended.errorText.isEmpty, ended.report)
    }
  }

  @Test func `where memory is counted for call sites a library is refused, with what to do; then it is guarded, and the program goes on`() throws {
    guard let (process, folder) = try waiting("types:site") else { return }
    let refused = try stave("guard", "\(process.id)", "--library", "patient")
    #expect(refused.status == 2 && refused.text.isEmpty && refused.errorText.contains("stave set \(process.id) types=library first"), refused.report)
    #expect(try stave("get", "\(process.id)", "stave.memguard", "stave.types").text == "stave.memguard: 0\nstave.types: site\n")
    let help = try stave("guard", "--help")
    #expect(help.text.replacing("\n", with: " ").contains("stave set PID onreport=continue"), help.report)
    let first = try stave("set", "\(process.id)", "types=library", "onreport=continue")
    #expect(first.succeeded && first.text.contains("stave.types: site -> library") && first.text.contains("stave.onreport: abort -> continue"), first.report)
    let said = try stave("guard", "\(process.id)", "--library", "patient", "--min", "50")
    #expect(said.succeeded && said.text.contains("stave.memguard: 0 -> 1"), said.report)
    _ = folder.write("", "go")
    let ended = process.end()
    #expect(ended.succeeded && ended.errorText.contains("of 100 bytes, of type patient") && ended.text.contains("end"), ended.report)
  }

  @Test func `what is so already is said to be so`() throws {
    guard let (process, folder) = try waiting("memguard:7") else { return }
    try withExtendedLifetime(folder) {
      let off = try stave("guard", "\(process.id)", "--off")
      #expect(off.succeeded && off.text == "stave.memguard: 7 -> 0\n", off.report)
      let again = try stave("guard", "\(process.id)", "--off")
      #expect(again.succeeded && again.text == "guards, guard bytes and item checks are off already\n", again.report)
      let on = try stave("guard", "\(process.id)", "--on")
      #expect(on.succeeded && on.text == "stave.memguard: 0 -> 1\n", on.report)
      let same = try stave("guard", "\(process.id)", "--on")
      #expect(same.succeeded && same.text == "all of it is so already: nothing has changed\n", same.report)
    }
  }

  @Test func `whom guards and guard bytes are for can be read back by name`() throws {
    guard let (process, folder) = try waiting("types:library,redzone_type:patient+malloc") else { return }
    try withExtendedLifetime(folder) {
      let said = try stave("guard", "\(process.id)", "--type", "malloc-128+patient+images+patient-64+images-64")
      #expect(said.succeeded, said.report)
      let shown = try stave("get", "\(process.id)", "stave.memguard_type", "vm.memguard.desc", "stave.redzone_type", "stave.probes").text
      #expect(
        shown == """
          stave.memguard_type: malloc-128+patient+?+patient-64+?
          vm.memguard.desc: malloc-128+patient+?+patient-64+?
          stave.redzone_type: patient+malloc
          stave.probes: all

          """, "\(shown)")
      #expect(try stave("guard", "\(process.id)").text.contains("vm.memguard.desc: malloc-128+patient"))
      #expect(try stave("guard", "\(process.id)", "--on").text.contains("-> all"))
      #expect(try stave("get", "\(process.id)", "stave.memguard_type").text == "stave.memguard_type: all\n")
    }
  }

  @Test func `of names that nothing has yet it is said, once each, that what comes under them is guarded`() throws {
    guard let (process, folder) = try waiting("types:library") else { return }
    try withExtendedLifetime(folder) {
      func line(_ name: String, _ named: String = "malloc type or zone") -> String { "stave: there is no \(named) \(name) in libstave.so yet: its memory is guarded when it comes.\n" }
      let target = "\(process.id)"
      let guarded = try stave("guard", target, "--type", "patient+patient-64+images+images-64+images_1+a++b+malloc-128", "--on")
      #expect(guarded.succeeded && guarded.errorText == ["images", "images-64", "images_1", "a++b"].map { line($0) }.joined(), guarded.report)
      // Guard bytes are for types and zones of theirs.
      let set = try stave("set", target, "redzone_type=patient+nobody+patient-64", "memguard_type=nobody+patient-64", "probes=elsewhere")
      #expect(set.succeeded && set.errorText == line("nobody"), set.report)
      for words in [["--type", "patient"], ["--library", "libnone.so.1"], ["--on"], ["--off"]] {
        let quiet = try stave(["guard", target] + words)
        #expect(quiet.succeeded && quiet.errorText.isEmpty, quiet.report)
      }
    }
  }

  @Test func `stave set does the same, and wrong usage is said before anybody is asked`() throws {
    guard let (process, folder) = try waiting() else { return }
    let said = try stave("set", "\(process.id)", "memguard_type=malloc-112", "memguard=1")
    #expect(said.succeeded && said.text.contains("stave.memguard_type: all -> malloc-112"), said.report)
    for words in [["--one-in", "0"], ["--min", "-1"], ["--off", "--on"], ["--side", "left"], ["--type", "a", "--library", "b"], ["--redzone", "-1"], ["--check", "2"], ["--off", "--check", "1"], ["--off", "--redzone", "0"]] {
      #expect(try stave(["guard", "\(process.id)"] + words).status == 2, "\(words)")
    }
    #expect(try stave("guard", "999999999", "--on").status == 1)
    _ = folder.write("", "go")
    #expect(process.end().signal == SIGABRT)
  }
}

private func stave(_ words: [String]) throws -> Ended { try start(Built.command, words).end() }
