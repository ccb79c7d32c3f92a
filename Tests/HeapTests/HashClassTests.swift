// SPDX-License-Identifier: BSD-2-Clause
//
// Hash classes from inside: who is of which class, that classes have no slab in common, what is done where zones or memory for them
// cannot be had, and that options which go by malloc's name mean all of them.

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

enum Classes {
  static var offset: UInt32 { 12345 }

  static func up(_ count: Int64 = 8, isLocked: Bool = false) {
    Stage.up()
    if isLocked { Stage.useLockedCaches() }
    heap.pointee.options.values[Option.numzones.rawValue] = count
    heap.pointee.options.values[Option.zoneOffset.rawValue] = Int64(offset)
    Heap.startHashClasses()
    heap.openFastPath()
  }

  /// The `number`th caller of a class: an address where no file is loaded.
  static func caller(_ wanted: Int, _ number: Int = 0) -> Frame {
    var left = number
    var pc: UInt = 0x10000
    while true {
      if HashClass.index(ofPlace: UInt64(pc), inFile: 0, offset: offset, count: hashClasses.pointee.count) == wanted {
        if left == 0 { return Frame(pc: pc, sp: 0, bp: 0) }
        left -= 1
      }
      pc += 16
      precondition(pc < 1 << 24, "nobody is of class \(wanted)")
    }
  }

  static func slab(_ block: UnsafeMutableRawPointer) -> SlabPointer? {
    guard case .slab(let header) = ownerMap.pointee.owner(of: block.address) else { return nil }
    return header.assumingMemoryBound(to: Slab.self)
  }

  static func zone(_ block: UnsafeMutableRawPointer) -> ZonePointer? { slab(block).flatMap { Heap.keg(of: $0).pointee.zone } }

  /// The class whose zone a block without a type is from.
  static func index(_ block: UnsafeMutableRawPointer) -> Int? { zone(block).flatMap { $0.pointee.type == 0 ? Int($0.pointee.instance) : nil } }

  /// Items in use of all of malloc's zones, and bytes of large blocks.
  static func live() -> (items: Int, large: UInt) {
    var items = 0
    forEachListedZone { if $0.pointee.flags.contains(.malloc) { items += used($0) } }
    return (items, arena.pointee.largeBytes)
  }
}

@Suite struct HashClassIndexTests {
  @Test(arguments: [
    ("images", 0, 8, 1), ("images", 1, 8, 5), ("images", 5, 8, 3), ("images", 6, 8, 1), ("images", 4_294_967_295, 8, 7), ("images", 0, 3, 0),
    ("", 0, 8, 0), ("", 77, 8, 0), ("images", 3, 1, 0), ("\u{e9}", 0, 8, 3), ("\u{e9}", 1, 8, 1), ("\u{e9}", 0, 7, 6), ("\u{e9}", 3, 7, 1),
  ] as [(String, UInt32, UInt32, Int)])
  func `the class of a name: its character at the offset, as an unsigned number, and 0 without a name`(_ name: String, _ offset: UInt32, _ count: UInt32, _ index: Int) {
    #expect(HashClass.index(of: FixedName(cString: name), offset: offset, count: count) == index)
  }

  @Test func `the class of a place goes by file, place and offset alone, and places are spread over all classes`() {
    var hits = [Int](repeating: 0, count: 8)
    var moved = 0
    for place in stride(from: UInt64(0x1000), to: 0x1000 + 8000 * 5, by: 5) {
      let index = HashClass.index(ofPlace: place, inFile: 99, offset: 7, count: 8)
      hits[index] += 1
      if HashClass.index(ofPlace: place, inFile: 99, offset: 8, count: 8) != index { moved += 1 }
    }
    #expect(hits.allSatisfy { (800...1200).contains($0) }, "\(hits)")
    #expect((6500...7500).contains(moved), "with another offset seven of eight are of another class: \(moved)")
    #expect((1...8).allSatisfy { count in (0..<1000).allSatisfy { (0..<Int(count)).contains(HashClass.index(ofPlace: $0 &* 77, inFile: 3, offset: .max, count: count)) } })
  }
}

extension OnRoot {
  @Suite struct HashClassTests {
    @Test func `off, there is nothing of them, and the first try is open`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let (metadata, open) = (metadataPages.pointee.usedBytes, stave_hot().pointee.small_limit)
        Heap.startHashClasses()
        heap.openFastPath()
        precondition(metadataPages.pointee.usedBytes == metadata && stave_hot().pointee.small_limit == open)
        precondition(!Heap.looksAtRequests && !hashClasses.isOn && heap.pointee.options[.zoneOffset] == 0)
        precondition(Heap.type(of: Frame(pc: 0x10000, sp: 0, bp: 0)) == nil)
      }
    }

    @Test func `an offset is drawn where none is given, and a given one is kept`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        heap.pointee.options.values[Option.numzones.rawValue] = 2
        Heap.startHashClasses()
        let drawn = heap.pointee.options[.zoneOffset]
        precondition(drawn >= 0 && drawn <= 0xffff_ffff && hashClasses.pointee.offset == UInt32(drawn) && hashClasses.pointee.count == 2)
        precondition(Heap.looksAtRequests && stave_hot().pointee.scopes == 1)
      }
      await #expect(processExitsWith: .success) {
        Classes.up()
        precondition(heap.pointee.options[.zoneOffset] == 12345 && hashClasses.pointee.offset == 12345)
      }
    }

    @Test func `L64 blocks of different classes never share a slab, and what is written behind one within it hurts none of another class`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        for size in [1, 48, 112, 1000, 3000, 20_000] {
          var own: [[UnsafeMutableRawPointer]] = Array(repeating: [], count: 8)
          for round in 0..<(400_000 / (size + 100)) {
            for one in 0..<8 {
              let block = Heap.allocate(UInt(size), for: Classes.caller(one, round % 3))!
              precondition(Classes.index(block) == one)
              fill(block, size, UInt8(one))
              own[one].append(block)
            }
          }
          let slabs = own.map { Set($0.map { Classes.slab($0)! }) }
          for one in 0..<8 { for other in 0..<one { precondition(slabs[one].isDisjoint(with: slabs[other])) } }
          // Each of class 3 writes two blocks' worth beyond itself, as far as its slab goes.
          for block in own[3] {
            let slab = Classes.slab(block)!, keg = Heap.keg(of: slab)
            let end = keg.item(keg.pointee.layout.items - 1, of: slab) + UInt(keg.pointee.layout.itemBytes)
            fill(block, Int(min(end - block.address, UInt(3 * keg.pointee.layout.itemBytes))), 0xee)
          }
          for one in 0..<8 where one != 3 { for block in own[one] { precondition(holds(block, size, UInt8(one))) } }
          for one in 0..<8 { for block in own[one] { Heap.free(block) } }
        }
        precondition(Classes.live() == (0, 0))
        checkAll()
      }
    }

    @Test func `T6 the zones of one size have one name and the number of their class, whoever comes first, and a type named malloc has others`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        let type = OnRoot.RedZoneTests.register("malloc")
        var blocks = [Heap.allocate(60, type: type)!]
        for one in [5, 3, 0, 7, 1] { blocks.append(Heap.allocate(60, for: Classes.caller(one))!) }
        let other = OnRoot.RedZoneTests.register("malloc")
        blocks.append(Heap.allocate(60, type: other)!)
        var found: [UInt32: UInt32] = [:]
        forEachListedZone { zone in
          guard zone.pointee.name.equals(FixedName("malloc-64")) else { return }
          precondition(found.updateValue(zone.pointee.type, forKey: zone.pointee.instance) == nil, "two of one number")
        }
        precondition(found.filter { $0.value == 0 }.keys.sorted() == [0, 1, 3, 5, 7])
        precondition(found.count == 7 && found.filter { $0.value != 0 }.keys.allSatisfy { $0 >= 8 })
        freeAll(blocks)
        checkAll()
      }
    }

    @Test func `a type has zones of its own in any class, and without a keg those of its class, else class 0's`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        let type = OnRoot.RedZoneTests.register("images")
        let own = HashClass.index(of: FixedName("images"), offset: Classes.offset, count: 8)
        precondition(own != 0)
        let first = Heap.allocate(32, type: type)!
        precondition(Classes.zone(first)!.pointee.type == type.pointee.number)
        Heap.free(Heap.allocate(96))
        Heap.free(Heap.allocate(96, for: Classes.caller(own)))
        Heap.free(Heap.allocate(80))
        let table = stave_kegs()
        let free = (1..<Int(STAVE_MAX_KEGS)).filter { table[$0] == nil }
        for index in free { table[index] = table[1] }
        let block = Heap.allocate(96, type: type)!, lone = Heap.allocate(80, type: type)!, other = Heap.allocate(80, for: Classes.caller(own))!
        precondition(Classes.index(block) == own && Classes.index(lone) == 0 && Classes.index(other) == 0)
        precondition(TypeTotals(type).used == 1 && type.pointee.failures == 0)
        for index in free { table[index] = nil }
        precondition(Classes.index(Heap.allocate(80, for: Classes.caller(own))!) == own, "its own as soon as there is one")
        freeAll([first, block, lone, other])
      }
    }

    @Test func `classes may use the cells and kegs that types leave`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        let type = OnRoot.RedZoneTests.register("many")
        zones.pointee.nextCell = Int(STAVE_MAX_CELLS) - 700  // as if so many had been given out
        Heap.free(Heap.allocate(112, type: type))
        precondition(type.pointee.zones[6]!.pointee.cell == 0)
        let block = Heap.allocate(112, for: Classes.caller(4))!
        precondition(Classes.index(block) == 4 && Classes.zone(block)!.pointee.cell != 0)
        zones.pointee.zoneCount += Int(STAVE_MAX_KEGS) - 900
        Heap.free(Heap.allocate(128, type: type))
        precondition(type.pointee.zones[7] == nil)
        let large = Heap.allocate(128, for: Classes.caller(4))!
        precondition(Classes.index(large) == 4)
      }
    }

    @Test func `lists of names mean malloc's memory of whatever class`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        heap.pointee.options.values[Option.memguard.rawValue] = 1
        precondition(Heap.configureGuards())
        func guarded(_ size: UInt) -> Int {
          let blocks = (0..<8).map { Heap.allocate(size, for: Classes.caller($0))! }
          defer { freeAll(blocks) }
          return blocks.count { isGuarded($0) }
        }
        _ = nameTypes(.memguardType, "images")
        precondition(guarded(100) == 0)
        _ = nameTypes(.memguardType, "images+malloc")
        precondition(guarded(100) == 8)
        _ = nameTypes(.memguardType, "malloc-112")
        precondition(guarded(100) == 8 && guarded(200) == 0)
        setGuard(.memguard, 0)
        OnRoot.RedZoneTests.setRedZone(1)
        _ = nameTypes(.redZoneType, "images")
        func withGuardBytes() -> Int {
          let blocks = (0..<8).map { Heap.allocate(100, for: Classes.caller($0))! }
          defer { freeAll(blocks) }
          return blocks.count { OnRoot.RedZoneTests.finding($0) != nil }
        }
        precondition(withGuardBytes() == 0)
        _ = nameTypes(.redZoneType, "malloc")
        precondition(withGuardBytes() == 8)
        checkAll()
      }
    }

    @Test func `a child of fork goes on in all classes, whatever its parent's threads were at`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        let callers = (0..<8).map { Classes.caller($0, 1) }
        /// Whether blocks of all classes can be had.
        func goesOn(_ count: Int) -> Bool {
          for size in 0..<count {
            let block = Heap.allocate(UInt(size * 70), for: callers[size % 8])!
            if Classes.index(block) != size % 8 { return false }
            Heap.free(block)
          }
          return true
        }
        var blocks: [UnsafeMutableRawPointer] = (0..<400).map { Heap.allocate(UInt($0 * 20), for: callers[$0 % 8])! }
        // What Swift makes at a first use would stay half made in a child of fork.
        precondition(goesOn(16))
        let running = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
        running.pointee = 1
        let shared = Shared(running)
        let thread = Thread {
          // Sizes that have no zones yet, so that forks meet their making.
          var number = 0
          while stave_load64(shared.value) != 0 {
            Heap.free(Heap.allocate(UInt(number % 2000) * 16, for: Classes.caller(number % 8)))
            number += 1
          }
        }
        thread.start()
        for round in 0..<30 {
          Heap.prepareFork()
          let child = stave_syscall6(Int(SYS_fork), 0, 0, 0, 0, 0, 0)
          if child == 0 {
            Heap.childAfterFork()
            for block in blocks { Heap.free(block) }
            _exit(goesOn(400) ? 0 : 2)
          }
          Heap.parentAfterFork()
          var status: Int32 = 0
          precondition(child > 0 && waitpid(pid_t(child), &status, 0) == pid_t(child))
          precondition(status == 0, "round \(round): \(status)")
          for index in blocks.indices {
            Heap.free(blocks[index])
            blocks[index] = Heap.allocate(UInt(index * 20), for: callers[index % 8])!
          }
        }
        stave_store64(running, 0)
        while thread.isExecuting { usleep(1000) }
        freeAll(blocks)
        checkAll()
      }
    }

    @Test func `sites beyond what the table holds keep their class`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        for round in 0..<2 {
          for number in 0..<20_000 {
            let pc = UInt(0x10_0000 + number * 48)
            let index = HashClass.index(ofPlace: UInt64(pc), inFile: 0, offset: Classes.offset, count: 8)
            let record = Heap.type(of: Frame(pc: pc, sp: 0, bp: 0))
            precondition(record == hashClasses.record(index), "round \(round), site \(number)")
          }
        }
        let words = (0..<HashClasses.siteCount).filter { hashClasses.pointee.sites![$0] != 0 }
        precondition(words.count > 3500)
      }
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    @Test func `L39 no memory for the classes: there are none, it is said, and malloc goes on`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        exhaustMetadata()
        stave_inject().pointee.error = 12
        stave_inject().pointee.after = 1
        Classes.up()
        stave_inject().pointee.after = 0
        precondition(!hashClasses.isOn && heap.pointee.options[.numzones] == 1 && !Heap.looksAtRequests)
        Heap.free(Heap.allocate(100))
        checkAll()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("no memory for numzones; it is 1"), "\(text)")
    }

    @Test func `L39 each system call refused while the zones of a class are made: a block or nil, nothing lost`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        for size in [16, 400, 9000, 30_000] {
          for number in 1..<40 {
            _ = Heap.trim()
            exhaustMetadata()
            stave_inject().pointee.error = 12
            stave_inject().pointee.after = number
            // A size that each round asks for the first time.
            let asked = UInt(size + 16 * (number % 3))
            let block = Heap.allocate(asked, for: Classes.caller(1 + number % 7))
            let left = stave_inject().pointee.after
            stave_inject().pointee.after = 0
            if let block {
              fill(block, Int(asked), 1)
              precondition([0, 1 + number % 7].contains(Classes.index(block)!))
            }
            Heap.free(block)
            precondition(Classes.live() == (0, 0))
            checkAll()
            if left > 0 && number > 21 { break }
          }
        }
      }
    }
    #endif
  }
}
