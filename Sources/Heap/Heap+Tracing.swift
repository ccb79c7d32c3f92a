// SPDX-License-Identifier: BSD-2-Clause
//
// The probes of malloc and free: how the fast paths make way for a tracer, and what it is told.
//
// A tracer counts up a semaphore in our memory and tells nobody. It is a part of the word that free() takes from each unit number,
// so the next free of any thread takes the slow path; as does the next request that its cell cannot serve. Either looks here, and
// closes malloc's fast path as well. So whatever the program does, free fires from the first on that begins behind the tracer's
// store, malloc from then on too, and without any free at the latest when a cell is empty: 1,024 requests of one class. When the
// last tracer has gone, free is fast again at once, and the next request opens malloc's fast path.
//
// While somebody watches, an operation costs what its slow path costs, some loads to find type and size, and the look at chance
// (Sampling). All probes of the two paths share the semaphore: who watches one makes way for all, and the others are a nop each.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  @inline(__always)
  static var isTraced: Bool { stave_tracers() != 0 }

  /// Called on slow paths. Two loads, where nothing has changed.
  @inline(__always)
  static func followTracers() {
    // The second half: who saw the last tracer go may open them behind the back of who saw the next one come.
    let hot = stave_hot()
    if isTraced != (hot.pointee.traced != 0) || isTraced && (hot.pointee.typed_limit | hot.pointee.small_limit | hot.pointee.guarded_limit) != 0 { changeTracing() }
  }

  @inline(never)
  private static func changeTracing() {
    // Said before the paths are closed, and taken back when they are open: if another thread forks in between, the child finds that
    // it has something to do.
    let isTraced = isTraced
    if isTraced { stave_hot().pointee.traced = 1 }
    heap.openFastPath()
    guard !isTraced else { return }
    // What nobody heard of as a sample must not be heard of as freed.
    Sampling.forgetAll()
    stave_hot().pointee.traced = 0
  }

  /// A block as probes show it.
  private struct Block {
    var size: UInt
    /// The size class, -1 for a large block.
    var index: Int
    var type: UInt32
  }

  /// Nil for what is no block of ours.
  private static func block(at address: UInt) -> Block? { plainBlock(at: address) ?? redZoneBlock(at: address).flatMap { plainBlock(at: $0.block.item) } }

  private static func plainBlock(at address: UInt) -> Block? {
    switch ownerMap.pointee.owner(of: address) {
    case .slab(let header):
      let slab = header.assumingMemoryBound(to: Slab.self)
      let keg = keg(of: slab)
      guard let zone = keg.pointee.zone, keg.pointee.flags.contains(.malloc), keg.index(of: address, in: slab) != nil else { return nil }
      return Block(size: UInt(zone.pointee.size), index: SizeClass.index(for: zone.pointee.size), type: zone.pointee.type)
    case .large:
      guard let large = arena.largeBlock(at: address) else { return nil }
      return Block(size: large.bytes, index: -1, type: large.type)
    case .none: return nil
    }
  }

  /// A block has been given out.
  @inline(never)
  static func traceAllocation(_ memory: UnsafeMutableRawPointer, _ requested: UInt) {
    guard let block = block(at: memory.address) else { return }
    if let type = types.traced(block.type) {
      stave_malloc_probe(UInt64(type.name), UInt64(type.number), UInt64(block.size), UInt64(bitPattern: Int64(block.index)), UInt64(memory.address), UInt64(requested))
    }
    let weight = Sampling.weight(ofNext: block.size)
    if weight > 0 && Sampling.remember(memory.address) {
      stave_otel_memory_alloc_probe(UInt64(memory.address), UInt64(block.size), UInt64(weight))
    }
  }

  /// A block is about to be taken back: before somebody else can have the address, so that who pairs the two by address is right.
  @inline(never)
  static func traceFree(_ memory: UnsafeMutableRawPointer) {
    guard let block = block(at: memory.address) else { return }
    if let type = types.traced(block.type) {
      stave_free_probe(UInt64(type.name), UInt64(type.number), UInt64(block.size), 0, UInt64(memory.address))
    }
    if Sampling.forget(memory.address) { stave_otel_memory_free_probe(UInt64(memory.address)) }
  }
}
