// SPDX-License-Identifier: BSD-2-Clause
//
// Guarded blocks by the hundred thousand, in a soak by the million: what they take of the process's map, of metadata and of time must
// not grow with their number. And a kernel without marks in page tables, which a filter of system calls plays: up to the map's limit,
// and beyond it.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// KiB, of /proc/self/status or /proc/meminfo.
private func kilobytes(_ name: String, in file: String) -> Int {
  let text = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
  let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
  return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
}

#if arch(x86_64)
/// From now on the kernel knows no MADV_GUARD_INSTALL, as before Linux 6.13. False where it does not filter.
private func forgetMarks() -> Bool {
  func line(_ code: UInt64, _ then: UInt64, _ otherwise: UInt64, _ value: UInt64) -> UInt64 { code | then << 16 | otherwise << 24 | value << 32 }
  let filter = [
    line(0x20, 0, 0, 0), line(0x15, 0, 3, 28 /* madvise */), line(0x20, 0, 0, 32), line(0x15, 0, 1, UInt64(adviseGuardInstall)),
    line(0x06, 0, 0, 0x5_0000 | UInt64(EINVAL)), line(0x06, 0, 0, 0x7fff_0000),
  ]
  return filter.withUnsafeBufferPointer { lines in
    var program: [UInt] = [UInt(lines.count), UInt(bitPattern: lines.baseAddress!)]
    let prctl = 157
    guard stave_syscall6(prctl, 38 /* NO_NEW_PRIVS */, 1, 0, 0, 0, 0) == 0 else { return false }
    return program.withUnsafeMutableBufferPointer { stave_syscall6(prctl, 22 /* SECCOMP */, 2, Int(bitPattern: $0.baseAddress!), 0, 0, 0) == 0 }
  }
}
#endif

extension OnRoot {
  @Suite struct MemGuardScaleTests {
    @Test func `a hundred thousand live blocks, in a soak a million: a few lines of the map, and neither memory nor time for a block grows`() async {
      // A page for each, and what is kept of it.
      let wanted = Stage.steps(100_000, soak: 1_000_000)
      let most: Int = min(1_000_000, wanted)
      guard kilobytes("MemAvailable", in: "/proc/meminfo") > most * 5 else { return announceSkip("\(most) guarded blocks: memory for them") }
      await #expect(processExitsWith: .success) { [most = most as Int] in
        guardUp([(.memguardDivisor, 1)])
        Heap.free(Heap.allocate(100))
        let isMarked = memGuard.pointee.usesMarks
        let lines = mapLines(), metadata = metadataPages.pointee.usedBytes, tables = kilobytes("VmPTE", in: "/proc/self/status")
        let blocks = UnsafeMutableBufferPointer<UnsafeMutableRawPointer>.allocate(capacity: most)
        let batch = most / 200
        var costs: [Int] = []
        var lot = Generator(92)
        for start in stride(from: 0, to: most, by: batch) {
          costs.append(
            spent {
              for index in start..<start + batch {
                blocks[index] = Heap.allocate(20)!
                // Some go and come, of whatever age.
                guard index % 4 == 0 else { continue }
                let other = lot.below(index + 1)
                Heap.free(blocks[other])
                blocks[other] = Heap.allocate(20)!
              }
            })
        }
        guard isMarked else {
          precondition(Int(memGuard.pointee.guarded - memGuard.pointee.freed) <= Int(memGuard.pointee.mostLines) / 2)
          for block in blocks { Heap.free(block) }
          memGuard.checkInvariants()
          return
        }
        precondition(memGuard.pointee.refused == 0 && memGuard.pointee.withoutPages == 0 && memGuard.pointee.withoutAddresses == 0)
        precondition(Int(memGuard.pointee.guarded - memGuard.pointee.freed) == most && memGuard.pointee.usedBytes == most * pageBytes)
        precondition(mapLines() < lines + 30, "\(mapLines() - lines) lines more")
        // What has been freed keeps its record until its addresses are used again: a quarter more.
        let kept = most + most / 4
        let bytes = metadataPages.pointee.usedBytes - metadata
        precondition(bytes < kept * 66 + (1 << 20), "\(bytes / kept) bytes of metadata for a block")
        let entries = (kilobytes("VmPTE", in: "/proc/self/status") - tables) << 10
        precondition(entries < kept * 40 + (4 << 20), "\(entries / kept) bytes of page tables for a block")
        // The best of the first twentieth, and of the last: CPU time, and the least of ten, so that who else runs does not matter.
        let first = costs[1..<11].min()!, last = costs.suffix(10).min()!
        // In CI a guest's memory may be new to its host, at whose cost nobody can be measured.
        precondition(Stage.scale == 1 || last < first * 4, "\(first / batch) ns for a block at first, \(last / batch) in the end")
        print("guarded blocks: \(most), \(first / batch) ns at first, \(last / batch) in the end; \(bytes / kept) and \(entries / kept) bytes; \(mapLines() - lines) lines")
        memGuard.checkInvariants()
        for block in blocks { Heap.free(block) }
        memGuard.checkInvariants()
        precondition(memGuard.pointee.usedBytes == 0)
      }
    }

    #if arch(x86_64)
    @Test func `a kernel without marks: up to half the lines of the map, then ordinary blocks, counted; also where the program has taken the other half`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        guard forgetMarks() else { return print("SKIPPED: filters of system calls") }
        guardUp([(.memguardDivisor, 1)])
        precondition(!memGuard.pointee.usesMarks && memGuard.laneAddress == .max && memGuard.pointee.openings == 0, "no lane is asked for")
        let allowed = mapLineLimit(), most = allowed / 4, before = mapLines()
        precondition(allowed >= 1000, "\(allowed)")
        guard allowed < 300_000 else { return print("SKIPPED: a map of \(allowed) lines takes too long to fill") }
        var blocks: [UnsafeMutableRawPointer] = []
        for index in 0..<most + 10_000 {
          let block = Heap.allocate(100)!
          fill(block, 100, UInt8(truncatingIfNeeded: index))
          precondition(isGuarded(block) == (index < most), "\(index)")
          blocks.append(block)
        }
        precondition(!memGuard.pointee.usesMarks && memGuard.pointee.refused == 10_000 && Int(memGuard.pointee.lines) == 2 * most)
        precondition(mapLines() <= before + 2 * most + 20)
        precondition(!isReadable(blocks[17].address + 112) && isReadable(blocks[17].address))
        // Room for five hundred, as MemGuard counts; but the program takes it, one line after the other, until the kernel has none left.
        for block in blocks[..<500] { Heap.free(block) }
        var taken: [UnsafeMutableRawPointer] = []
        taken.reserveCapacity(allowed)
        while true {
          // Neighbours of different kinds, which cannot be one line.
          let place = mmap(nil, pageBytes, taken.count % 2 == 0 ? PROT_NONE : PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
          guard place != MAP_FAILED else { break }
          taken.append(place!)
          precondition(taken.count < allowed)
        }
        precondition(mapLines() >= allowed - 10)
        let refused = memGuard.pointee.refused
        for index in 0..<500 {
          blocks[index] = Heap.allocate(100)!
          fill(blocks[index], 100, UInt8(truncatingIfNeeded: index))
        }
        let late = blocks[..<500].count { isGuarded($0) }
        precondition(late < 20 && Int(memGuard.pointee.refused - refused) == 500 - late, "\(late)")
        // Everything is as it was, and goes back, at the limit too.
        for (index, block) in blocks.enumerated() {
          precondition(holds(block, 100, UInt8(truncatingIfNeeded: index)))
          Heap.free(block)
        }
        for place in taken { munmap(place, pageBytes) }
        precondition(memGuard.pointee.usedBytes == 0)
        memGuard.checkInvariants()
        let again = Heap.allocate(100)!
        precondition(isGuarded(again))
        Heap.free(again)
        memGuard.checkInvariants()
        checkAll()
      }
    }
    #endif
  }
}
