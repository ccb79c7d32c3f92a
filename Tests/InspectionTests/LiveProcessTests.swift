// SPDX-License-Identifier: BSD-2-Clause
//
// Reading and writing the memory of this process and of children, by both ways that the kernel offers.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

@Suite struct LiveProcessTests {
  static let ways: [LiveProcess.Wish] = [.any, .memoryFile]

  /// Two pages, of which the second cannot be read: the file behind them has only one. (An unmapped page could be taken by
  /// another test's thread, and /proc/PID/mem reads through PROT_NONE.)
  final class Edge {
    let folder = Folder()
    let start: UInt
    let page = UInt(sysconf(Int32(_SC_PAGESIZE)))
    init() {
      let path = folder.write([UInt8](repeating: 0, count: Int(page)))
      let descriptor = open(path, O_RDWR | O_CLOEXEC)
      defer { close(descriptor) }
      start = UInt(bitPattern: mmap(nil, Int(page) * 2, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)!)
    }
    var end: UInt { start + page }
    var pointer: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: start)! }
    deinit { munmap(pointer, Int(page) * 2) }
  }

  @Test(arguments: ways) func readsOwnMemory(way: LiveProcess.Wish) throws {
    let own = try LiveProcess(process: getpid(), wish: way)
    let edge = Edge()
    for index in 0..<Int(edge.page) { edge.pointer.storeBytes(of: UInt8(truncatingIfNeeded: index * 7), toByteOffset: index, as: UInt8.self) }
    #expect(try own.read(UInt32.self, at: edge.start + 1) == 0x1c_150e_07)
    let all = try own.readArray(UInt8.self, at: edge.start, count: Int(edge.page), limit: 1 << 20)
    #expect(all.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0 * 7) })
    #expect(try own.readArray(UInt64.self, at: 0, count: 0, limit: 10).isEmpty)
  }

  @Test(arguments: ways) func readsBeyondMemoryAreErrors(way: LiveProcess.Wish) throws {
    let own = try LiveProcess(process: getpid(), wish: way)
    let edge = Edge()
    #expect(errorOf { () throws(InspectionError) in _ = try own.read(UInt64.self, at: edge.end - 3) }
      == .shortRead(address: edge.end - 3, wanted: 8, got: 3))
    for address in [0, 8, UInt.max, UInt.max - 7, 1 << 63, 0xffff_8000_0000_0000] as [UInt] {
      let error = errorOf { () throws(InspectionError) in _ = try own.read(UInt64.self, at: address) }
      #expect(error == .shortRead(address: address, wanted: 8, got: 0))
    }
    #expect(errorOf { () throws(InspectionError) in _ = try own.readArray(UInt8.self, at: edge.start, count: -1, limit: 5) } != nil)
    #expect(errorOf { () throws(InspectionError) in _ = try own.readArray(UInt64.self, at: edge.start, count: .max, limit: .max) } != nil)
  }

  @Test(arguments: ways) func textEndsAtItsZeroOrItsLimit(way: LiveProcess.Wish) throws {
    let own = try LiveProcess(process: getpid(), wish: way)
    let edge = Edge()
    memset(edge.pointer, 0x61, Int(edge.page))
    edge.pointer.storeBytes(of: 0, toByteOffset: Int(edge.page) - 1, as: UInt8.self)
    #expect(try own.readString(at: edge.end - 4) == "aaa")
    #expect(try own.readString(at: edge.start, limit: 100).utf8.count == 100)
    #expect(try own.readString(at: edge.start, limit: 1 << 20).utf8.count == Int(edge.page) - 1)
    edge.pointer.storeBytes(of: 0x61, toByteOffset: Int(edge.page) - 1, as: UInt8.self)
    #expect(errorOf { () throws(InspectionError) in _ = try own.readString(at: edge.end - 4) } != nil)
    #expect(try own.readString(at: edge.end - 4, limit: 4) == "aaaa")
  }

  @Test(arguments: ways) func batchesSurviveHoles(way: LiveProcess.Wish) throws {
    let own = try LiveProcess(process: getpid(), wish: way)
    let edge = Edge()
    var numbers = Generator(3)
    for index in 0..<Int(edge.page / 8) { edge.pointer.storeBytes(of: UInt64(index), toByteOffset: index * 8, as: UInt64.self) }
    // More than the kernel takes in one call; a fifth of them unreadable, some half readable.
    let addresses = (0..<5000).map { _ in edge.start + UInt.random(in: 0..<(edge.page / 8 * 5 / 4), using: &numbers) * 8 }
    let values = try own.read(UInt64.self, at: addresses)
    for (address, value) in zip(addresses, values) {
      #expect(value == (address < edge.end ? UInt64((address - edge.start) / 8) : nil))
    }
    #expect(try own.read(UInt64.self, at: [edge.end - 4, edge.start + 8, 0, edge.start + 16]) == [nil, 1, nil, 2])
    #expect(try own.read(UInt64.self, at: []).isEmpty)
  }

  @Test(arguments: ways) func writesAWord(way: LiveProcess.Wish) throws {
    let own = try LiveProcess(process: getpid(), wish: way)
    let edge = Edge()
    try own.write(value: UInt64(0x1234_5678_9abc_def0), at: edge.start + 16)
    #expect(edge.pointer.load(fromByteOffset: 16, as: UInt64.self) == 0x1234_5678_9abc_def0)
    #expect(errorOf { () throws(InspectionError) in try own.write(value: UInt64(1), at: edge.end - 4) } != nil)
    #expect(errorOf { () throws(InspectionError) in try own.write(value: UInt64(1), at: 0) } == .cannotWrite(address: 0, errno: EFAULT))
    #expect(errorOf { () throws(InspectionError) in try own.write(value: UInt64(1), at: .max) } == .cannotWrite(address: .max, errno: EFAULT))
  }

  @Test(arguments: ways) func readsAStoppedChildAndNoticesItsEnd(way: LiveProcess.Wish) throws {
    let child = try Started.sleeping()
    kill(child.id, SIGSTOP)
    var state: Character = "?"
    for _ in 0..<30_000 where state != "T" {
      state = try ProcessEntry(process: child.id).state
      usleep(1000)
    }
    #expect(state == "T")
    let target = try LiveProcess(process: child.id, wish: way)
    let modules = target.modules(among: try target.mappings())
    #expect(modules.contains { $0.path.contains("libc") })
    for module in modules { #expect(try target.read(UInt32.self, at: module.base) == 0x464c_457f) }
    #expect(try findRoot(in: target, symbol: "malloc").contains { $0.modulePath.contains("libc") })
    #expect(errorOf { () throws(InspectionError) in _ = try findRoot(in: target) } == .noStave(target: target.name))
    // It is still stopped: nothing here has let it run.
    #expect(try ProcessEntry(process: child.id).state == "T" && target.isAlive)

    kill(child.id, SIGKILL)
    _ = child.end()
    #expect(!target.isAlive)
    #expect(errorOf { () throws(InspectionError) in _ = try target.read(UInt64.self, at: modules[0].base) } == .noSuchProcess(child.id))
    #expect(errorOf { () throws(InspectionError) in _ = try target.mappings() } == .noSuchProcess(child.id))
    #expect(errorOf { () throws(InspectionError) in _ = try findRoot(in: target) } == .noSuchProcess(child.id))
    #expect(errorOf { () throws(InspectionError) in _ = try LiveProcess(process: child.id) } == .noSuchProcess(child.id))
  }

  @Test func zombiesAndKernelThreadsHaveNoMemory() throws {
    let child = try Started("/bin/true")
    for _ in 0..<30_000 where (try? ProcessEntry(process: child.id))?.state != "Z" { usleep(1000) }
    #expect(errorOf { () throws(InspectionError) in _ = try LiveProcess(process: child.id) } == .noMemory(child.id))
    if let kernel = ProcessTable().entries.first(where: { $0.name == "kthreadd" }), geteuid() == 0 {
      #expect(errorOf { () throws(InspectionError) in _ = try LiveProcess(process: kernel.process) } == .noMemory(kernel.process))
    }
  }

  @Test func processesOfOthersAreDenied() throws {
    guard geteuid() != 0 else { return announceSkip("processesOfOthersAreDenied: root may read everything") }
    #expect(errorOf { () throws(InspectionError) in _ = try LiveProcess(process: 1) }
      == .permissionDenied(process: 1, yamaScope: LiveProcess.yamaScope))
  }

  @Test(arguments: [nil, 0, 1, 2, 3]) func theMessageNamesWhatHelps(scope: Int?) {
    let error = InspectionError.permissionDenied(process: 7, yamaScope: scope)
    #expect(error.exitStatus == 1)
    for word in ["ptrace_scope", "inspect:any", "sudo", "0", "1"] where scope != 3 || word != "inspect:any" {
      #expect(error.message.contains(word))
    }
  }

  @Test func messagesCannotReachTheTerminal() {
    let nasty = "a\u{1b}[2Jb\nc\u{9b}d\u{202e}e"
    for error in [InspectionError.noProcessNamed(nasty), .noStave(target: nasty), .notACore(path: nasty, reason: "x"), .damaged(nasty)] {
      #expect(error.message.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 0x9b && $0.value != 0x202e })
    }
  }

  @Test func argumentsArePIDsOrPaths() throws {
    #expect(try openTarget("\(getpid())").process == getpid())
    #expect(errorOf { () throws(InspectionError) in _ = try openTarget("") }?.exitStatus == 2)
    #expect(errorOf { () throws(InspectionError) in _ = try openTarget("99999999999") }?.exitStatus == 2)
    #expect(errorOf { () throws(InspectionError) in _ = try openTarget("0") } == .noSuchProcess(0))
    #expect(errorOf { () throws(InspectionError) in _ = try openTarget("/nonexistent") } == .cannotOpen(path: "/nonexistent", errno: ENOENT))
    #expect(errorOf { () throws(InspectionError) in _ = try openTarget("/dev/null") } == .cannotOpen(path: "/dev/null", errno: EINVAL))
    #expect(errorOf { () throws(InspectionError) in _ = try openTarget("/tmp") } == .cannotOpen(path: "/tmp", errno: EISDIR))
    guard case .notACore(_, let reason) = errorOf({ () throws(InspectionError) in _ = try openTarget("/bin/sleep") }) else {
      Issue.record("a program is no core file")
      return
    }
    #expect(reason.contains("stave run"))
  }
}
