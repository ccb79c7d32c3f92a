// SPDX-License-Identifier: BSD-2-Clause
//
// The command as users and scripts meet it: exit statuses, what errors say, what `run` passes through, the names in its JSON.

import Foundation
import Inspection
import Testing

@Suite(.serialized, .enabled(if: Built.hasLibrary, "make builds the library")) struct CommandTests {
  @Test(arguments: [
    [], ["nonsense"], ["zones"], ["zones", "--nonsense", "1"], ["zones", "1", "--name", "init"], ["zones", "99999999999"],
    ["zones", "--sort", "beauty", "1"], ["zones", "-w", "0", "1"], ["zones", "-c", "3", "1"], ["sum"], ["top"], ["trim"], ["run"], ["run", "--"],
    ["run", "--nonsense"], ["run", "--watch", "-1", "true"], ["run", "--watch", "nan", "true"], ["run", "--rounds", "0", "true"],
    ["run", "-o", "perod:4", "true"], ["run", "-o", "percpu:sometimes", "true"], ["run", "-o", "period", "true"], ["run", "-o", "period:0", "true"],
    ["zones", "no-such-file-or-name"], ["get"], ["set"], ["set", "1", "period"], ["set", "1", "period=0"], ["set", "1", "percpu=locked"],
    ["metrics"], ["metrics", "1", "--listen", "9101"], ["stream"], ["stream", "types", "1"], ["stream", "zones"], ["zones", "--stream", "/etc/passwd", "1"],
    ["zones", "--stream", "/etc/passwd", "-w", "1"], ["get", "--json", "--describe", "1"],
  ])
  func `wrong usage is status 2, said on standard error`(_ arguments: [String]) throws {
    let ended = try Started(Built.command, arguments).end()
    if arguments.isEmpty {
      // ArgumentParser's answer to a command alone is its help.
      #expect(ended.status == 0 && ended.output.contains("SUBCOMMANDS"))
    } else {
      #expect(ended.status == 2, "\(arguments): \(ended)")
      #expect(ended.output.isEmpty)
      #expect(ended.errors.hasSuffix("\n") && !ended.errors.contains("Fatal"))
    }
  }

  @Test(arguments: [
    (["zones", "0"], "no process 0"), (["zones", "4194305"], "has ended"), (["zones", "/nonexistent/core"], "No such file"),
    (["zones", "/dev/null"], "cannot open"), (["zones", "/bin/sh"], "not a core file"), (["zones", "--name", "no such name"], "no process is named"),
    (["zones", "--stream", "/etc/passwd"], "is a stream of version"), (["zones", "--stream", "/nonexistent"], "No such file"), (["zones", "--stream", "/dev/null"], "fewer than 16 bytes"),
    (["get", "4194305"], "has ended"), (["set", "4194305", "period=5"], "has ended"), (["metrics", "4194305"], "has ended"), (["stream", "zones", "4194305"], "has ended"),
  ])
  func `what is not there or cannot be read is status 1, and the error says what to do`(_ arguments: [String], _ words: String) throws {
    let ended = try Started(Built.command, arguments).end()
    #expect(ended.status == 1)
    #expect(ended.errors.hasPrefix("stave: ") && ended.errors.contains(words), "\(ended.errors)")
    #expect(ended.output.isEmpty)
  }

  @Test func `a process without Stave is status 1, too`() throws {
    // Not this one: the tests of the heap start Stave in it.
    let plain = try Started("/bin/sleep", ["60"])
    usleep(50_000)
    for command in ["zones", "sum", "trim"] {
      let ended = try stave(command, "\(plain.id)")
      #expect(ended.status == 1 && ended.errors.hasPrefix("stave: no Stave in process \(plain.id)") && ended.errors.contains("`stave run"))
    }
  }

  @Test func `help and version are status 0 on standard output`() throws {
    for arguments in [["--help"], ["zones", "--help"], ["run", "--help"], ["run", "-h"], ["--version"], ["help", "top"]] {
      let ended = try Started(Built.command, arguments).end()
      #expect(ended.status == 0 && !ended.output.isEmpty && ended.errors.isEmpty, "\(arguments): \(ended)")
    }
    // Behind the program they are the program's.
    #expect(try stave("run", "sh", "-c", "echo $*", "sh", "--help", "-o", "--").output == "--help -o --\n")
    #expect(try stave("run", "--", "echo", "--", "-o").output == "-- -o\n")
  }

  @Test func `run without watching is the program: status, signal, 126, 127`() throws {
    #expect(try stave("run", "--", "sh", "-c", "exit 7").status == 7)
    let killed = try stave("run", "--", "sh", "-c", "kill -TERM $$")
    #expect(killed.isSignalled && killed.status == SIGTERM)
    for watching in [[], ["--watch", "1"]] {
      for (program, status) in [("no-such-program-at-all", Int32(127)), ("/etc/passwd", 126), ("/", 126)] {
        let ended = try Started(Built.command, ["run"] + watching + ["--", program]).end()
        #expect(ended.status == status, "\(program)")
        #expect(ended.errors.hasPrefix("stave: cannot run \(program): "))
      }
    }
  }

  @Test func `run without a library says where it looked`() throws {
    let ended = try stave("run", "true", environment: ["STAVE_LIBRARY": "/nonexistent.so"])
    #expect(ended.status == 1 && ended.errors.contains("STAVE_LIBRARY names /nonexistent.so"))
    let folder = FileManager.default.temporaryDirectory.appending(path: "stave blank \(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try FileManager.default.copyItem(atPath: Built.library, toPath: folder.path + "/libstave.so")
    #expect(try stave("run", "true", environment: ["STAVE_LIBRARY": folder.path + "/libstave.so"]).errors.contains("blank or a colon"))
  }

  @Test func `run puts the library first and its options last`() throws {
    let ended = try stave(
      "run", "-o", "period:7", "--", "sh", "-c", "echo $LD_PRELOAD $STAVE_OPTIONS",
      environment: ["LD_PRELOAD": "libc.so.6", "STAVE_OPTIONS": "period:5"])
    #expect(ended.output == "\(Built.library):libc.so.6 period:5,period:7\n", "\(ended)")
  }

  @Test func `a watched program keeps its output, status and signals`() throws {
    let ended = try stave("run", "--watch", "0.1", "--", "sh", "-c", "sleep 0.4; echo out; exit 5")
    #expect(ended.status == 5 && ended.output == "out\n")
    #expect(ended.errors.contains("ZONE") && ended.errors.contains("malloc-") && ended.errors.contains("CPU time"))
    #expect(!ended.errors.contains("\u{1b}"))
    #expect(try stave("run", "--watch", "1", "--", "sh", "-c", "kill -KILL $$").status == 128 + SIGKILL)
    #expect(try stave("run", "--watch", "9", "--", "true").status == 0)
    // A signal to the command reaches the program.
    let child = try Started(Built.command, ["run", "--watch", "1", "--", "sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done"])
    for _ in 0..<500 where child.printed.isEmpty { usleep(10_000) }
    child.signal(SIGTERM)
    let caught = child.end()
    #expect(caught.status == 9 && caught.output == "ready\ncaught\n", "\(caught)")
  }

  @Test func `a comparison runs both ways, rewinds its input, and keeps its output apart`() throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "stave-input-\(UUID().uuidString)")
    let tally = FileManager.default.temporaryDirectory.appending(path: "stave-tally-\(UUID().uuidString)")
    defer { for one in [file, tally] { try? FileManager.default.removeItem(at: one) } }
    try "first\nsecond\n".write(to: file, atomically: true, encoding: .utf8)
    let program = "read first; read second; test $first$second = firstsecond || exit 3; echo with${LD_PRELOAD:-out} >> \(tally.path); echo printed"
    let ended = try Started(Built.command, ["run", "--compare", "--rounds", "2", "--", "sh", "-c", program], input: file.path).end()
    #expect(ended.status == 0, "\(ended)")
    #expect(ended.output == "printed\n")
    let runs = try String(contentsOf: tally, encoding: .utf8).split(separator: "\n")
    #expect(runs.map { $0 == "without" } == [false, false, true, true, false])
    for name in ["wall time", "CPU time", "peak memory, largest process", "peak memory, all processes", "2 rounds, in turns"] {
      #expect(ended.errors.contains(name), "\(ended.errors)")
    }
    let failing = try stave("run", "--compare", "--", "sh", "-c", "test -n \"$LD_PRELOAD\"")
    #expect(failing.status == 0 && failing.errors.contains("no comparison: in round 1 of 3, without, the program ended with status 1"))
  }

  @Test func `JSON: names are stable and the sum closes`() throws {
    try withSleeper { process in
      let zones = try object(stave("zones", "\(process)", "--json").output)
      #expect(Set(zones.keys) == ["process", "caches", "memory-zone-statistics", "sum"])
      #expect(zones["process"] as? Int == Int(process))
      let list = try #require((zones["memory-zone-statistics"] as? [String: Any])?["zone"] as? [[String: Any]])
      #expect(!list.isEmpty)
      for zone in list {
        #expect(
          Set(zone.keys) == [
            "name", "instance", "size", "limit", "used", "free", "requests", "fail", "sleep", "xdomain", "item-size", "slab-size", "items-per-slab",
            "slabs", "cached-per-cpu", "cached-in-depot", "holes", "in-transit", "bucket-size", "size-class", "header", "pages", "memory",
            "purgeable", "changing",
          ])
      }
      let sum = try object(stave("sum", "\(process)", "--json").output)
      #expect(
        Set(sum.keys) == [
          "used", "cached", "holes", "metadata", "purgeable", "returned", "in-transit", "mapped", "changing", "large-blocks", "large-bytes", "resident",
          "anonymous", "anonymous-huge", "swap",
        ])
      let parts = ["used", "cached", "holes", "metadata", "purgeable", "returned", "in-transit"].map { sum[$0] as? Int ?? .min / 16 }
      #expect(parts.reduce(0, +) == sum["mapped"] as? Int)
      let repeated = try stave("zones", "\(process)", "--json", "-w", "0.05", "-c", "3").output.split(separator: "\n")
      #expect(repeated.count == 3)
      #expect(try object(String(repeated[2])).keys.count == 4 && repeated[2].contains("requests-per-second"))
      let options = try object(stave("options", "--json").output)["options"] as? [[String: Any]]
      #expect(options?.first?["key"] as? String == "percpu")
    }
  }

  @Test func `text tables, trim, names`() throws {
    try withSleeper { process in
      let table = try stave("zones", "\(process)", "--all").output.split(separator: "\n")
      #expect(table[0].split(separator: " ") == ["ITEM", "SIZE", "LIMIT", "USED", "FREE", "REQ", "FAIL", "SLEEP", "XDOMAIN"])
      #expect(try stave("sum", "\(process)").output.contains("= mapped"))
      let trimmed = try stave("trim", "\(process)")
      #expect(trimmed.status == 0 && (trimmed.output.contains("returned") || trimmed.output.contains("pending")))
      let top = try stave("top", "\(process)")
      #expect(top.status == 2 && top.errors.contains("wants a terminal"))
      kill(process, SIGSTOP)
      #expect(try stave("zones", "\(process)").status == 0)
      kill(process, SIGCONT)
    }
  }

  @Test func `controls are shown and set by name`() throws {
    try withSleeper { process in
      let all = try stave("get", "\(process)").output
      #expect(all.contains("stave.period: 1000\n") && all.contains("vm.zone_count: ") && all.contains("vm.uma.malloc_"))
      #expect(try stave("get", "\(process)", "stave.period", "debug.malloc").output.split(separator: "\n").map { $0.split(separator: ":")[0] } == [
        "stave.period", "debug.malloc.failure_count", "debug.malloc.failure_rate", "debug.malloc.numzones",
      ])
      let values = try object(stave("get", "--json", "\(process)", "vm.kmem_size", "stave.percpu", "vm.malloc.zone_sizes").output)
      #expect(values["vm.kmem_size"] is Int && values["stave.percpu"] as? String == "auto" && (values["vm.malloc.zone_sizes"] as? [Int])?.last == 0)
      #expect(try stave("get", "--describe", "\(process)", "stave.period").output.contains("read, set"))
      let unknown = try stave("get", "\(process)", "vm.zone_cuont")
      #expect(unknown.status == 2 && unknown.errors.contains("did you mean vm.zone_count?") && unknown.output.isEmpty)
      // It sleeps: nobody there answers. Another request has to wait for the first.
      let pending = try stave("set", "\(process)", "period=50")
      #expect(pending.status == 0 && pending.output.hasPrefix("stave.period: pending"), "\(pending)")
      let other = try stave("set", "\(process)", "period=60")
      #expect(other.status == 1 && other.errors.contains("earlier request"))
      // Nothing is asked for if one of several is wrong.
      #expect(try stave("set", "\(process)", "background=0", "perod=5").errors.contains("did you mean period?"))
    }
    let worker = try Started(Built.command, ["run", "--", "sh", "-c", "while :; do x=$(echo $x | head -c 9); done"])
    defer { worker.signal(SIGKILL) }
    for _ in 0..<200 where try stave("sum", "\(worker.id)").status != 0 { usleep(20_000) }
    let byName = try stave("set", "\(worker.id)", "period=50", "stave.verbose=0")
    #expect(byName.output == "stave.period: 1000 -> 50\nstave.verbose: 0 -> 0\n" || byName.output.contains("pending"), "\(byName)")
  }

  @Test func `a stream goes to a file and is read back as the same table`() throws {
    try withSleeper { process in
      kill(process, SIGSTOP)
      let file = FileManager.default.temporaryDirectory.appending(path: "stave-stream-\(UUID().uuidString)")
      defer { try? FileManager.default.removeItem(at: file) }
      let written = try Started("/bin/sh", ["-c", "\"$0\" stream zones \(process) > \(file.path)", Built.command]).end()
      #expect(written.status == 0, "\(written)")
      let live = try stave("zones", "\(process)")
      #expect(try stave("zones", file.path).output == live.output && live.output.contains("malloc-"))
      #expect(try stave("zones", "--stream", file.path, "--sort", "size").output == stave("zones", "--sort", "size", "\(process)").output)
      #expect(try Started(Built.command, ["zones", "--stream", "-"], input: file.path).end().output == live.output)
      var bytes = try Data(contentsOf: file)
      bytes[0] = 3
      try bytes.write(to: file)
      let newer = try stave("zones", file.path)
      #expect(newer.status == 1 && newer.errors.contains("version mismatch") && newer.errors.contains("of version 3"), "\(newer)")
      try Data(bytes.prefix(100)).write(to: file)
      #expect(try stave("zones", "--stream", file.path).status == 1)
      try Data(StatisticsStream.types([TypeEntry(TypeRecord(name: "temp"), cpus: [])]).bytes(maxCPUs: 2)).write(to: file)
      #expect(try stave("zones", "--stream", file.path).errors.contains("one of malloc types"))
      kill(process, SIGCONT)
    }
  }

  @Test func `whoever reads and goes, or a full disk, ends it`() throws {
    try withSleeper { process in
      let gone = try Started("/bin/sh", ["-c", "trap '' PIPE; \"$0\" zones -w 0.05 \(process) | head -1; true", Built.command]).end()
      #expect(gone.errors.isEmpty && gone.output.hasPrefix("ITEM"))
      let full = try Started("/bin/sh", ["-c", "exec \"$0\" sum \(process) > /dev/full", Built.command]).end()
      #expect(full.status == 1 && full.errors.contains("cannot write: No space left"))
    }
  }
}
