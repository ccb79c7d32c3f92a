// SPDX-License-Identifier: BSD-2-Clause
//
// External storage: who shares it, who may write, and who frees it, once.

import Foundation
import Synchronization
import Testing

@testable import PacketBuffers
@testable import Pages
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct StorageTests {
    /// What the last free was told.
    enum Told {
      nonisolated(unsafe) static var values: (UnsafeMutableRawPointer, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?)?
      nonisolated(unsafe) static var times = 0
      static let free: StorageFree = { values = ($0, $1, $2); times += 1 }
    }

    @Test func `lent storage goes back once, with its arguments, when the last mbuf lets go`() {
      Told.times = 0
      let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4000, alignment: 16)
      defer { buffer.deallocate() }
      let one = UnsafeMutableRawPointer(bitPattern: 1), two = UnsafeMutableRawPointer(bitPattern: 2)
      // Freed in each order of three: the holder first, in between, last.
      for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 0, 1]] {
        let holder = packets.getHeader()!
        holder.lend(buffer, size: 4000, type: .driver, flags: .readOnly, free: Told.free, one, two)
        #expect(!holder.isWritable && holder.leadingSpace == 0 && holder.trailingSpace == 0 && holder.room == 4000)
        holder.length = 100
        let times = Told.times
        var all = [holder]
        // One shares with the holder, one with that.
        for index in 0..<2 {
          let sharer = packets.get()!
          sharer.share(all[index])
          #expect(sharer.pointee.data == buffer && sharer.flags.contains(.readOnly))
          all.append(sharer)
        }
        for (turn, index) in order.enumerated() {
          all[index].free()
          #expect(Told.times == times + (turn == 2 ? 1 : 0))
        }
        #expect(Told.values?.0 == buffer && Told.values?.1 == one && Told.values?.2 == two)
      }
    }

    @Test func `a count that the lender keeps is the lender's`() {
      Told.times = 0
      var buffer = [UInt8](repeating: 1, count: 600)
      let count = ReferenceCountPointer.allocate(capacity: 1)
      count.initialize(to: ReferenceCount(1))
      buffer.withUnsafeMutableBytes { bytes in
        let first = packets.get()!, second = packets.get()!
        first.lend(bytes.baseAddress!, size: 600, count: count, free: Told.free)
        second.lend(bytes.baseAddress!, size: 600, count: count, free: Told.free)
        #expect(first.storage.pointee.type == .counted && !first.isWritable)
        first.length = 600
        let copy = first.copy(0, 600)!
        #expect(copy.pointee.data == bytes.baseAddress)
        first.free()
        second.free()
        #expect(Told.times == 0)
        copy.free()
        #expect(Told.times == 0 && count.isOne, "the lender has one yet")
        let last = packets.get()!
        last.lend(bytes.baseAddress!, size: 600, count: count, free: Told.free)
        #expect(!count.drop(), "the lender lets go, the mbuf has one yet")
        last.free()
        #expect(Told.times == 1)
      }
      count.deallocate()
    }

    @Test func `storage of each kind is read-only while shared, and writable when one is left, whoever that is`() {
      for kind in 1..<7 {
        for holderFirst in [true, false] {
          let holder = makeMbuf(kind, isFirst: true)
          holder.pointee.data += 10
          holder.length = 50
          #expect(holder.leadingSpace == 10 && holder.trailingSpace == holder.room - 60)
          let sharer = packets.get()!
          sharer.share(holder)
          #expect(!holder.isWritable && !sharer.isWritable && sharer.leadingSpace == 0 && sharer.trailingSpace == 0)
          (holderFirst ? holder : sharer).free()
          #expect((holderFirst ? sharer : holder).isWritable)
          (holderFirst ? sharer : holder).free()
        }
      }
      #expect(Lent.out == 0)
    }

    @Test func `an mbuf that lies in the storage that it frees is not looked at after`() {
      // Storage of its own pages, which its free makes unreadable.
      let bytes = pageBytes * 2
      for sharerLast in [false, true] {
        let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        let mbuf = memory.assumingMemoryBound(to: Mbuf.self)
        mbuf.initialize(to: Mbuf(next: nil, nextPacket: nil, data: memory, bytes: 0, word: 0))
        mbuf.flags = .notFreed
        mbuf.lend(memory + 256, size: bytes - 256, free: { buffer, size, _ in munmap(buffer - 256, Int(bitPattern: size)) }, UnsafeMutableRawPointer(bitPattern: bytes))
        let before = Out.now
        if sharerLast {
          let sharer = packets.get()!
          sharer.share(mbuf)
          mbuf.free()
          sharer.length = 1
          sharer.pointee.data.storeBytes(of: 1, as: UInt8.self)
          sharer.free()
        } else {
          mbuf.free()
        }
        #expect(Out.now == before)
        var state: UInt8 = 0
        #expect(mincore(memory, pageBytes, &state) == -1, "it was unmapped")
      }
    }

    @Test func `storage lent as one of the zones' own, or twice, ends the process`() async {
      await #expect(processExitsWith: .failure) {
        Stage.up()
        precondition(packets.start())
        packets.get()!.lend(malloc(100)!, size: 100, type: .cluster, free: Lent.free)
      }
      await #expect(processExitsWith: .failure) {
        Stage.up()
        precondition(packets.start())
        packets.getPacket()!.lend(malloc(100)!, size: 100, free: Lent.free)
      }
    }

    /// Threads that hold shares of the same storages and free them at one time, in one order; each kind in turn.
    @Test func `of threads that free shared storage at one time exactly one frees it`() {
      let workers = 4, rounds = 1500 * Stage.scale
      var generator = Generator(300)
      var chains: [[MbufPointer]] = Array(repeating: [], count: workers)
      let returned = Lent.returned.load(ordering: .sequentiallyConsistent)
      var lent = 0
      for _ in 0..<rounds {
        let kind = [1, 1, 2, 3, 6, 6][generator.below(6)]
        if kind == 6 { lent += 1 }
        let holder = makeMbuf(kind, isFirst: true)
        holder.length = 100
        holder.packetLength = 100
        // Who has the holder differs.
        let first = generator.below(workers)
        for worker in 0..<workers { chains[worker].append(worker == first ? holder : holder.copyPacket()!) }
      }
      let shared = Shared(chains), ready = Shared(UnsafeMutablePointer<ReferenceCount>.allocate(capacity: 1))
      ready.value.initialize(to: ReferenceCount(0))
      inThreads(workers) { worker in
        ready.value.pointee.value.wrappingAdd(1, ordering: .sequentiallyConsistent)
        while ready.value.pointee.value.load(ordering: .acquiring) < workers { sched_yield() }
        var generator = Generator(UInt64(310 + worker))
        for chain in shared.value[worker] {
          // Some are copied and split on the way, which changes counts while others let go.
          if generator.below(3) == 0, let copy = chain.copyPacket() { copy.freeChain() }
          if generator.below(5) == 0, let tail = chain.split(40) { tail.freeChain() }
          chain.freeChain()
        }
      }
      ready.value.deallocate()
      #expect(Lent.returned.load(ordering: .sequentiallyConsistent) - returned == lent)
      #expect(Out.now.items.allSatisfy { $0 == 0 }, "\(Out.now) (STAVE_SEED=\(Stage.seed))")
      let state = packets
      for zone in [state.pointee.mbufZone!, state.pointee.pageZone!] { check(zone, holding: 0) }
    }
  }
}
