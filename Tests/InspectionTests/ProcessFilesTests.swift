// SPDX-License-Identifier: BSD-2-Clause
//
// The kernel's text files: maps, stat, status, smaps_rollup, and the table of processes made of them.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

@Suite struct ProcessFilesTests {
  @Test func parsesALineOfMaps() {
    let text = """
      7f12a000-7f12c000 r-xp 00001000 fe:00 1234                       /usr/lib/a b.so (deleted)
      7f12c000-7f12d000 rw-s 00000000 00:00 0
      nonsense
      ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
      10000-20000 rw-p 0 00:00 7 /tmp/new\\012line
      99999999999999999-999999999999999999 rw-p 0 00:00 7 /too/large
      20000-10000 rw-p 0 00:00 7 /backwards
      30000-40000 rw
      """
    let mappings = Mapping.parse(maps: Array(text.utf8))
    #expect(mappings.count == 4)
    #expect(
      mappings[0]
        == Mapping(
          start: 0x7f12_a000, end: 0x7f12_c000, offset: 0x1000, isExecutable: true, inode: 1234,
          path: "/usr/lib/a b.so (deleted)"))
    #expect(mappings[1].isShared && mappings[1].isWritable && mappings[1].path.isEmpty)
    #expect(mappings[2].path == "[vsyscall]" && !mappings[2].isFile && !mappings[2].isReadable)
    #expect(mappings[3].path == "/tmp/new\nline" && mappings[3].isFile)
  }

  @Test func garbageInMapsIsLeftOut() {
    var numbers = Generator(1)
    for length in 0..<400 {
      let text = (0..<length).map { _ in UInt8.random(in: 0...255, using: &numbers) }
      _ = Mapping.parse(maps: text)
      _ = ProcessEntry(parsing: text)
      _ = ProcessStatus(parsing: text)
      // The same with the characters that such files are made of.
      let likely = Array("0123456789abcdef- rwxp:/\n\\()".utf8)
      _ = Mapping.parse(maps: text.map { likely[Int($0) % likely.count] })
      _ = ProcessEntry(parsing: text.map { likely[Int($0) % likely.count] })
    }
  }

  @Test func ownMapContainsOwnCodeAndStack() throws {
    let own = try LiveProcess(process: getpid())
    let mappings = try own.mappings()
    var local = 0
    let stack = withUnsafePointer(to: &local) { UInt(bitPattern: $0) }
    #expect(mappings.mapping(containing: stack)?.isWritable == true)
    #expect(mappings.mapping(containing: 0) == nil)
    // Read page by page, a map that grows meanwhile may say the end of one page again.
    #expect(try (0..<5).contains { _ in
      let mappings = try own.mappings()
      return zip(mappings, mappings.dropFirst()).allSatisfy { $0.end <= $1.start }
    })
    for mapping in mappings { #expect(mappings.mapping(containing: mapping.end - 1) == mapping) }
  }

  @Test func namesMayHoldParenthesesAndBlanks() throws {
    let fields = (5...52).map { String($0) }.joined(separator: " ")
    let entry = try #require(ProcessEntry(parsing: Array("77 (a) (b ) c) S 3 \(fields)\n".utf8)))
    #expect(entry.process == 77 && entry.parent == 3 && entry.name == "a) (b ) c" && entry.state == "S")
    #expect(entry.startTicks == 22 && entry.resident == 24 * UInt64(sysconf(Int32(_SC_PAGESIZE))))
    #expect(ProcessEntry(parsing: Array("77 ) ( S".utf8)) == nil)
  }

  @Test func statusAndTotalsOfThisProcess() throws {
    let own = try LiveProcess(process: getpid())
    let status = try own.status()
    #expect(status.resident > 1 << 20 && status.peakResident >= status.resident / 2 && status.threads >= 1)
    let totals = try own.memoryTotals()
    #expect(totals.resident > 1 << 20 && totals.resident % 1024 == 0 && totals.anonymous <= totals.resident)
    #expect(totals.proportional <= totals.resident)
    #expect(try #require(own.entry.secondsSinceStart()) >= 0)
    #expect(own.executablePath?.isEmpty == false)
  }

  @Test func childrenAndDescendants() throws {
    let child = try Started.sleeping()
    let table = ProcessTable()
    #expect(table.children(of: getpid()).contains { $0.process == child.id })
    #expect(table.descendants(of: getpid()).contains { $0.process == child.id })
    #expect(table.descendants(of: getppid()).contains { $0.process == child.id })
    #expect(table.descendants(of: child.id).isEmpty)
    let entry = try ProcessEntry(process: child.id)
    #expect(entry.arguments() == ["/bin/sleep", "1000"] && entry.command() == "/bin/sleep 1000")
  }

  @Test func circlesInTheTableEnd() throws {
    var a = try ProcessEntry(process: getpid())
    a.process = 10
    a.parent = 11
    var b = a
    b.process = 11
    b.parent = 10
    var c = a
    c.process = 12
    c.parent = 12
    let table = ProcessTable(entries: [a, b, c])
    #expect(table.descendants(of: 10).map(\.process) == [11])
    #expect(table.descendants(of: 12).isEmpty)
  }

  @Test func findsByNameAndListsTheCandidates() throws {
    let folder = Folder()
    let name = "stv\(getpid() % 100000)"
    symlink("/bin/sleep", folder.path + "/" + name)
    let first = try Started(folder.path + "/" + name, ["1000"])
    for _ in 0..<30_000 where (try? ProcessEntry(process: first.id))?.name != name { usleep(1000) }
    #expect(try ProcessTable().process(named: name).process == first.id)
    let second = try Started(folder.path + "/" + name, ["2000"])
    for _ in 0..<30_000 where (try? ProcessEntry(process: second.id))?.name != name { usleep(1000) }
    let error = errorOf { () throws(InspectionError) in _ = try ProcessTable().process(named: name) }
    guard case .ambiguousName(_, let candidates) = error else {
      Issue.record("expected candidates, got \(String(describing: error))")
      return
    }
    #expect(Set(candidates.map(\.process)) == [first.id, second.id])
    #expect(error?.exitStatus == 2 && error?.message.contains("\(second.id)") == true)
    #expect(errorOf { () throws(InspectionError) in _ = try ProcessTable().process(named: "no such name") }
      == .noProcessNamed("no such name"))
  }
}
