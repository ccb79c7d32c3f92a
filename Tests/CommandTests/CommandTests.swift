// SPDX-License-Identifier: BSD-2-Clause
//
// The command as users and scripts meet it: exit statuses, what errors say, what `run` passes through, the names in its JSON.

import Foundation
import Inspection
import Testing

@testable import TestSupport

@Suite(.serialized, .enabled(if: Built.hasLibrary, "make builds the library")) struct CommandTests {
  @Test(arguments: [
    [], ["nonsense"], ["zones"], ["zones", "--nonsense", "1"], ["zones", "1", "--name", "init"], ["zones", "99999999999"],
    ["zones", "--sort", "beauty", "1"], ["zones", "-w", "0", "1"], ["zones", "-c", "3", "1"], ["sum"], ["top"], ["trim"], ["run"], ["run", "--"],
    ["run", "--nonsense"], ["run", "--watch", "-1", "true"], ["run", "--watch", "nan", "true"], ["run", "--rounds", "0", "true"],
    ["run", "-o", "perod:4", "true"], ["run", "-o", "percpu:sometimes", "true"], ["run", "-o", "period", "true"], ["run", "-o", "period:0", "true"],
    ["zones", "no-such-file-or-name"], ["get"], ["set"], ["set", "1", "period"], ["set", "1", "period=0"], ["set", "1", "percpu=locked"],
    ["metrics"], ["metrics", "1", "--listen", "9101"], ["stream"], ["stream", "sizes", "1"], ["stream", "types"], ["types", "--stream", "/etc/passwd", "1"], ["types", "--stream", "/etc/passwd", "-w", "1"], ["stream", "zones"], ["zones", "--stream", "/etc/passwd", "1"],
    ["zones", "--stream", "/etc/passwd", "-w", "1"], ["get", "--json", "--describe", "1"],
    ["sizes"], ["sizes", "--classes", "0", "1"], ["sizes", "--sort", "memory", "1"], ["show"], ["show", "malloc"],
  ])
  func `wrong usage is status 2, said on standard error`(_ arguments: [String]) throws {
    let ended = try start(Built.command, arguments).end()
    if arguments.isEmpty {
      // ArgumentParser's answer to a command alone is its help.
      #expect(ended.status == 0 && ended.text.contains("SUBCOMMANDS"))
    } else {
      #expect(ended.status == 2, "\(arguments): \(ended)")
      #expect(ended.text.isEmpty)
      #expect(ended.errorText.hasSuffix("\n") && !ended.errorText.contains("Fatal"))
    }
  }

  @Test(arguments: [
    (["zones", "0"], "no process 0"), (["zones", "4194305"], "has ended"), (["zones", "/nonexistent/core"], "No such file"),
    (["zones", "/dev/null"], "cannot open"), (["zones", "/bin/sh"], "not a core file"), (["zones", "--name", "no such name"], "no process is named"),
    (["zones", "--stream", "/etc/passwd"], "is a stream of version"), (["zones", "--stream", "/nonexistent"], "No such file"), (["types", "--stream", "/etc/passwd"], "is a stream of version"), (["types", "--stream", "/nonexistent"], "No such file"), (["zones", "--stream", "/dev/null"], "fewer than 16 bytes"),
    (["get", "4194305"], "has ended"), (["set", "4194305", "period=5"], "has ended"), (["metrics", "4194305"], "has ended"), (["stream", "zones", "4194305"], "has ended"),
  ])
  func `what is not there or cannot be read is status 1, and the error says what to do`(_ arguments: [String], _ words: String) throws {
    let ended = try start(Built.command, arguments).end()
    #expect(ended.status == 1)
    #expect(ended.errorText.hasPrefix("stave: ") && ended.errorText.contains(words), "\(ended.errorText)")
    #expect(ended.text.isEmpty)
  }

  @Test func `a process without Stave is status 1, too`() throws {
    // Not this one: the tests of the heap start Stave in it.
    let plain = try start("/bin/sleep", ["60"])
    usleep(50_000)
    for command in ["zones", "sum", "trim"] {
      let ended = try stave(command, "\(plain.id)")
      #expect(ended.status == 1 && ended.errorText.hasPrefix("stave: no Stave in process \(plain.id)") && ended.errorText.contains("`stave run"))
    }
  }

  @Test func `help and version are status 0 on standard output`() throws {
    for arguments in [["--help"], ["zones", "--help"], ["run", "--help"], ["run", "-h"], ["--version"], ["help", "top"]] {
      let ended = try start(Built.command, arguments).end()
      #expect(ended.status == 0 && !ended.text.isEmpty && ended.errorText.isEmpty, "\(arguments): \(ended)")
    }
    // Behind the program they are the program's.
    #expect(try stave("run", "sh", "-c", "echo $*", "sh", "--help", "-o", "--").text == "--help -o --\n")
    #expect(try stave("run", "--", "echo", "--", "-o").text == "-- -o\n")
  }

  @Test func `run without watching is the program: status, signal, 126, 127`() throws {
    #expect(try stave("run", "--", "sh", "-c", "exit 7").status == 7)
    let killed = try stave("run", "--", "sh", "-c", "kill -TERM $$")
    #expect(killed.signal == SIGTERM)
    for watching in [[], ["--watch", "1"]] {
      for (program, status) in [("no-such-program-at-all", Int32(127)), ("/etc/passwd", 126), ("/", 126)] {
        let ended = try start(Built.command, ["run"] + watching + ["--", program]).end()
        #expect(ended.status == status, "\(program)")
        #expect(ended.errorText.hasPrefix("stave: cannot run \(program): "))
      }
    }
  }

  @Test func `run without a library says where it looked`() throws {
    let ended = try stave("run", "true", environment: ["STAVE_LIBRARY": "/nonexistent.so"])
    #expect(ended.status == 1 && ended.errorText.contains("STAVE_LIBRARY names /nonexistent.so"))
    let other = try stave("run", "true", environment: ["STAVE_LIBRARY": "/etc/passwd"])
    #expect(other.status == 1 && other.errorText.contains("/etc/passwd is no library"), other.report)
    #expect(try stave("run", "--rounds", "3", "true").status == 2)
    let folder = Folder()
    let library = folder.file("lib stave.so")
    try FileManager.default.copyItem(atPath: Built.library, toPath: library)
    #expect(try stave("run", "true", environment: ["STAVE_LIBRARY": library]).errorText.contains("blank or a colon"))
  }

  @Test func `run puts the library first and its options last`() throws {
    let ended = try stave(
      "run", "-o", "period:7", "--", "sh", "-c", "echo $LD_PRELOAD $STAVE_OPTIONS",
      environment: ["LD_PRELOAD": "libc.so.6", "STAVE_OPTIONS": "period:5"])
    #expect(ended.text == "\(Built.library):libc.so.6 period:5,period:7\n", "\(ended)")
  }

  @Test(arguments: [[], ["--watch", "5"]])
  func `words and variables that are not UTF-8 reach the program as they are`(_ watching: [String]) throws {
    let script = """
      export STRANGE=$(printf 'a\\377\\376b'); command=$1; shift
      exec "$command" run "$@" -- sh -c '[ "$1" = "$(printf "a\\377\\376b")" ] && [ "$STRANGE" = "$1" ]' sh "$STRANGE"
      """
    let ended = try run("/bin/sh", ["-c", script, "sh", Built.command] + watching, environment: ["STAVE_LIBRARY": Built.library])
    #expect(ended.status == 0, ended.report)
  }

  @Test func `a watched program keeps its output, status and signals`() throws {
    let ended = try stave("run", "--watch", "0.1", "--", "sh", "-c", "sleep 3; echo out; exit 5")
    #expect(ended.status == 5 && ended.text == "out\n")
    #expect(ended.errorText.contains("ZONE") && ended.errorText.contains("malloc-") && ended.errorText.contains("CPU time"))
    #expect(!ended.errorText.contains("\u{1b}"))
    #expect(try stave("run", "--watch", "1", "--", "sh", "-c", "kill -KILL $$").status == 128 + SIGKILL)
    #expect(try stave("run", "--watch", "9", "--", "true").status == 0)
    // A signal to the command reaches the program.
    let child = try start(Built.command, ["run", "--watch", "1", "--", "sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done"])
    _ = wait { !child.printed.isEmpty }
    kill(child.id, SIGTERM)
    let caught = child.end()
    #expect(caught.status == 9 && caught.text == "ready\ncaught\n", "\(caught)")
  }

  @Test func `a comparison runs both ways, rewinds its input, and keeps its output apart`() throws {
    let folder = Folder()
    let input = folder.write("first\nsecond\n"), tally = folder.file("tally")
    let program = "read first; read second; test $first$second = firstsecond || exit 3; echo with${LD_PRELOAD:-out} >> \(tally); echo printed"
    let ended = try start(Built.command, ["run", "--compare", "--rounds", "2", "--", "sh", "-c", program], input: input).end()
    #expect(ended.status == 0, "\(ended)")
    #expect(ended.text == "printed\n")
    let runs = try String(contentsOfFile: tally, encoding: .utf8).split(separator: "\n")
    #expect(runs.map { $0 == "without" } == [false, false, true, true, false])
    for name in ["wall time", "CPU time", "peak memory, largest process", "peak memory, all processes", "2 rounds, in turns"] {
      #expect(ended.errorText.contains(name), "\(ended.errorText)")
    }
    let failing = try stave("run", "--compare", "--", "sh", "-c", "test -n \"$LD_PRELOAD\"")
    #expect(failing.status == 0 && failing.errorText.contains("no comparison: in round 1 of 3, without, the program ended with status 1"))
  }

  @Test func `JSON: names are stable and the sum closes`() throws {
    try withSleeper { process in
      let zones = try object(stave("zones", "\(process)", "--json").text)
      #expect(Set(zones.keys) == ["process", "caches", "memory-zone-statistics", "sum", "roots"])
      #expect(zones["process"] as? Int == Int(process))
      let list = try #require((zones["memory-zone-statistics"] as? [String: Any])?["zone"] as? [[String: Any]])
      #expect(!list.isEmpty)
      for zone in list {
        #expect(
          Set(zone.keys) == [
            "name", "instance", "size", "limit", "used", "free", "requests", "fail", "sleep", "xdomain", "item-size", "slab-size", "items-per-slab",
            "slabs", "cached-per-cpu", "cached-in-depot", "holes", "in-transit", "bucket-size", "size-class", "header", "pages", "memory",
            "purgeable", "changing", "kind", "keg", "limit-current", "sleepers", "deferred", "cached-in-groups", "low-water", "high-water",
            "domains",
          ])
      }
      let sum = try object(stave("sum", "\(process)", "--json").text)
      #expect(
        Set(sum.keys) == [
          "used", "cached", "holes", "metadata", "purgeable", "returned", "in-transit", "mapped", "changing", "large-blocks", "large-bytes", "resident",
          "anonymous", "anonymous-huge", "swap", "arena-size", "container-limit", "outside", "guarded-blocks", "guarded-bytes",
        ])
      let parts = ["used", "cached", "holes", "metadata", "purgeable", "returned", "in-transit"].map { sum[$0] as? Int ?? .min / 16 }
      #expect(parts.reduce(0, +) == sum["mapped"] as? Int)
      let repeated = try stave("zones", "\(process)", "--json", "-w", "0.05", "-c", "3").text.split(separator: "\n")
      #expect(repeated.count == 3)
      #expect(try object(String(repeated[2])).keys.count == 5 && repeated[2].contains("requests-per-second"))
      let options = try object(stave("options", "--json").text)["options"] as? [[String: Any]]
      #expect(options?.first?["key"] as? String == "percpu")
    }
  }

  @Test func `text tables, trim, names`() throws {
    try withSleeper { process in
      let table = try stave("zones", "\(process)", "--all").text.split(separator: "\n")
      #expect(table[0].split(separator: " ") == ["ITEM", "SIZE", "LIMIT", "USED", "FREE", "REQ", "FAIL", "SLEEP", "XDOMAIN"])
      #expect(try stave("sum", "\(process)").text.contains("= mapped"))
      let trimmed = try stave("trim", "\(process)")
      #expect(trimmed.status == 0 && (trimmed.text.contains("returned") || trimmed.text.contains("pending")))
      let top = try stave("top", "\(process)")
      #expect(top.status == 2 && top.errorText.contains("wants a terminal"))
      kill(process, SIGSTOP)
      #expect(try stave("zones", "\(process)").status == 0)
      kill(process, SIGCONT)
    }
  }

  @Test(arguments: ["zones", "sum"]) func `repeated looks follow a process into the program that it executes`(_ command: String) throws {
    for (script, program) in [("exec sleep 60", "sleep"), ("unset LD_PRELOAD; exec sleep 60", nil)] {
      let folder = Folder()
      try withProcess(["sh", "-c", "while ! test -e \(folder.file("now")); do sleep 0.02; done; \(script)"]) { process in
        let looks = try start(Built.command, [command, "-w", "0.05", "\(process)"])
        #expect(wait { looks.printed.contains("\n\n") })
        _ = folder.write("", "now")
        guard program != nil else {
          let ended = looks.end()
          #expect(ended.status == 1 && ended.errorText.hasPrefix("stave: no Stave in process \(process) (sleep): "), ended.report)
          return
        }
        #expect(wait { !looks.complained.isEmpty })
        let before = looks.printed.count
        #expect(wait { looks.printed.count > before + 1000 })
        kill(process, SIGKILL)
        let ended = looks.end()
        #expect(ended.status == 0 && ended.errorText == "stave: process \(process) (sh) has become process \(process) (sleep)\n", ended.report)
      }
    }
  }

  @Test func `controls are shown and set by name`() throws {
    try withSleeper { process in
      let all = try stave("get", "\(process)").text
      #expect(all.contains("stave.period: 1000\n") && all.contains("vm.zone_count: ") && all.contains("vm.uma.malloc_"))
      #expect(try stave("get", "\(process)", "stave.period", "debug.malloc").text.split(separator: "\n").map { $0.split(separator: ":")[0] } == [
        "stave.period", "debug.malloc.failure_count", "debug.malloc.failure_rate", "debug.malloc.numzones", "debug.malloc.zone_offset",
      ])
      let values = try object(stave("get", "--json", "\(process)", "vm.kmem_size", "stave.percpu", "vm.malloc.zone_sizes").text)
      #expect(values["vm.kmem_size"] is Int && values["stave.percpu"] as? String == "auto" && (values["vm.malloc.zone_sizes"] as? [Int])?.last == 0)
      #expect(try stave("get", "--describe", "\(process)", "stave.period").text.contains("read, set"))
      let unknown = try stave("get", "\(process)", "vm.zone_cuont")
      #expect(unknown.status == 2 && unknown.errorText.contains("did you mean vm.zone_count?") && unknown.text.isEmpty)
      // It sleeps: nobody there answers. Another request has to wait for the first.
      let pending = try stave("set", "\(process)", "period=50")
      #expect(pending.status == 0 && pending.text.hasPrefix("stave.period: pending"), "\(pending)")
      let other = try stave("set", "\(process)", "period=60")
      #expect(other.status == 1 && other.errorText.contains("earlier request"))
      // Nothing is asked for if one of several is wrong.
      #expect(try stave("set", "\(process)", "background=0", "perod=5").errorText.contains("did you mean period?"))
    }
    let worker = try start(Built.command, ["run", "--", "sh", "-c", "while :; do x=$(echo $x | head -c 9); done"])
    for _ in 0..<200 where try stave("sum", "\(worker.id)").status != 0 { usleep(20_000) }
    let byName = try stave("set", "\(worker.id)", "period=50", "stave.verbose=0")
    #expect(byName.text == "stave.period: 1000 -> 50\nstave.verbose: 0 -> 0\n" || byName.text.contains("pending"), "\(byName)")
  }

  @Test func `a stream goes to a file and is read back as the same table`() throws {
    try withSleeper { process in
      kill(process, SIGSTOP)
      let folder = Folder()
      let file = folder.file("stream")
      let written = try start("/bin/sh", ["-c", "\"$0\" stream zones \(process) > \(file)", Built.command]).end()
      #expect(written.status == 0, "\(written)")
      let live = try stave("zones", "\(process)")
      #expect(try stave("zones", file).text == live.text && live.text.contains("malloc-"))
      #expect(try stave("zones", "--stream", file, "--sort", "size").text == stave("zones", "--sort", "size", "\(process)").text)
      #expect(try start(Built.command, ["zones", "--stream", "-"], input: file).end().text == live.text)
      var bytes = try Data(contentsOf: URL(filePath: file))
      bytes[0] = 3
      try bytes.write(to: URL(filePath: file))
      let newer = try stave("zones", file)
      #expect(newer.status == 1 && newer.errorText.contains("version mismatch") && newer.errorText.contains("of version 3"), "\(newer)")
      try Data(bytes.prefix(100)).write(to: URL(filePath: file))
      #expect(try stave("zones", "--stream", file).status == 1)
      try Data(StatisticsStream.types([TypeEntry(TypeRecord(name: "temp"), cpus: [])]).bytes(maxCPUs: 2)).write(to: URL(filePath: file))
      #expect(try stave("zones", "--stream", file).errorText.contains("one of malloc types"))
      kill(process, SIGCONT)
    }
  }

  @Test func `whoever reads and goes, or a full disk, ends it`() throws {
    try withSleeper { process in
      let gone = try start("/bin/sh", ["-c", "trap '' PIPE; \"$0\" zones -w 0.05 \(process) | head -1; true", Built.command]).end()
      #expect(gone.errorText.isEmpty && gone.text.hasPrefix("ITEM"))
      let full = try start("/bin/sh", ["-c", "exec \"$0\" sum \(process) > /dev/full", Built.command]).end()
      #expect(full.status == 1 && full.errorText.contains("cannot write: No space left"))
    }
  }
}
