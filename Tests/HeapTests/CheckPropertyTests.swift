// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks under chance: random calls and threads while they are switched on and off, what they say of every address ever freed
// against a model, and double frees and late writes at random moments, each of which must be reported.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct CheckPropertyTests {
    init() { Stage.up() }

    @Test func `random calls under random switching keep every block apart and every count right`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.HeapPropertyTests.randomOperations(82, switchingChecks: true)
      }
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.HeapPropertyTests.randomOperations(83, switchingChecks: true)
      }
    }

    @Test func `threads under random switching: nothing lost, no report, counts exact at rest`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.HeapPropertyTests.stress(switchingChecks: true)
      }
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.HeapPropertyTests.stress(switchingChecks: true)
      }
    }

    /// What a random run has: live blocks, and the places of those that were freed and are not live again.
    struct Model {
      var generator: Generator
      var live: [UInt: Int] = [:]
      var order: [UInt] = []
      var freed: Set<UInt> = []
      let types: [TypePointer?] = [nil, Accounting.types.named(FixedName("one")), Accounting.types.named(FixedName("two"))]

      init(_ stream: UInt64) { generator = Generator(stream) }

      /// One call, in this thread or, now and then, in another.
      mutating func step() {
        if order.count < 100 || generator.below(2) == 0 && order.count < 2000 {
          let size = generator.below(40) == 0 ? generator.size(upTo: 200_000) : generator.size(upTo: 3000)
          let block = Heap.allocate(UInt(size), type: types[generator.below(3)], .noWait)!
          precondition(live.updateValue(size, forKey: block.address) == nil, "handed out twice")
          memset(block, 0x77, size)
          freed.remove(block.address)
          order.append(block.address)
        } else {
          let index = generator.below(order.count)
          order.swapAt(index, order.count - 1)
          let address = order.removeLast()
          live[address] = nil
          freed.insert(address)
          if generator.below(200) == 0 {
            inThreads(1) { _ in Heap.free(UnsafeMutableRawPointer(bitPattern: address)) }
          } else {
            Heap.free(UnsafeMutableRawPointer(bitPattern: address))
          }
        }
      }

      /// Whether a free of this address would be taken.
      static func isTaken(_ address: UInt) -> Bool {
        switch ownerMap.pointee.owner(of: address) {
        case .slab(let header):
          let slab = header.assumingMemoryBound(to: Slab.self)
          let keg = Heap.keg(of: slab)
          guard let index = keg.index(of: address, in: slab) else { return false }
          return !keg.freeItems(of: slab).contains(index)
        case .large: return arena.largeBytes(at: address) != nil
        case .none: return false
        }
      }
    }

    @Test func `L21 with item checks every address ever freed is known to be free, until it is handed out again`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        var model = OnRoot.CheckPropertyTests.Model(84)
        for _ in 0..<2000 { model.step() }
        setChecks(true)
        for step in 0..<Stage.steps(6000, soak: 500_000) {
          model.step()
          if step % 600 == 300 { setChecks(false) }
          if step % 600 == 330 { setChecks(true) }
          if step % 200 == 0 && itemChecks.isOn {
            for address in model.freed { precondition(!OnRoot.CheckPropertyTests.Model.isTaken(address), "STAVE_SEED=\(Stage.seed) step \(step)") }
            for address in model.order { precondition(OnRoot.CheckPropertyTests.Model.isTaken(address), "STAVE_SEED=\(Stage.seed) step \(step)") }
            checkAll()
          }
          if step % 500 == 0 { _ = Heap.trim() }
        }
      }
    }

    @Test(arguments: 0..<8)
    func `L21 with item checks a double free at a random moment is reported with its address`(_ turn: Int) async {
      setenv("STAVE_TEST_TURN", "\(turn)", 1)
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent, \.standardOutputContent]) {
        Stage.up()
        var model = OnRoot.CheckPropertyTests.Model(100 + UInt64(String(cString: getenv("STAVE_TEST_TURN")))!)
        let switched = model.generator.below(3000)
        for step in 0..<3000 {
          if step == switched { setChecks(true) }
          model.step()
        }
        let places = model.freed.sorted()
        let address = places[model.generator.below(places.count)]
        print("\nAGAIN 0x\(String(address, radix: 16))")
        fflush(nil)
        Heap.free(UnsafeMutableRawPointer(bitPattern: address))
      }
      unsetenv("STAVE_TEST_TURN")
      let output = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self)
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      let address = output.split(separator: "\n").first { $0.hasPrefix("AGAIN ") }?.dropFirst(6)
      #expect(address != nil && text.contains("bad free") && text.contains(address!), "STAVE_SEED=\(Stage.seed): \(text)")
    }

    @Test(arguments: 0..<8)
    func `a late write to free memory is reported, at the next allocation there or when its slab goes`(_ turn: Int) async {
      setenv("STAVE_TEST_TURN", "\(turn)", 1)
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let turn = UInt64(String(cString: getenv("STAVE_TEST_TURN")))!
        var model = OnRoot.CheckPropertyTests.Model(200 + turn)
        setChecks(true)
        for _ in 0..<2000 { model.step() }
        // Any byte of any free item.
        var places: [(UInt, Int)] = []
        for address in model.freed.sorted() {
          guard case .slab(let header) = ownerMap.pointee.owner(of: address) else { continue }
          let keg = Heap.keg(of: header.assumingMemoryBound(to: Slab.self))
          if keg.index(of: address, in: header.assumingMemoryBound(to: Slab.self)) != nil { places.append((address, keg.pointee.layout.size)) }
        }
        let place = places[model.generator.below(places.count)]
        let byte = UnsafeMutablePointer<UInt8>(bitPattern: place.0 + UInt(model.generator.below(place.1)))!
        byte.pointee ^= UInt8(1 << model.generator.below(8))
        if turn % 2 == 0 {
          for address in model.order { Heap.free(UnsafeMutableRawPointer(bitPattern: address)) }
          _ = Heap.trim()
        } else {
          for type in model.types { for _ in 0..<40_000 { _ = Heap.allocate(UInt(place.1), type: type, .noWait) } }
        }
      }
      unsetenv("STAVE_TEST_TURN")
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("write after free"), "STAVE_SEED=\(Stage.seed): \(text)")
    }
  }
}
