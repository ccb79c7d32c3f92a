// SPDX-License-Identifier: BSD-2-Clause
//
// How much memory there may be: what the options say of the arena's size, and what the process's containers leave it.
//
// The size is hard: beyond it there is no memory, after all caches have been given up. The containers' limit is the kernel's to enforce;
// here it is the machine's size for the formula, and a soft limit: from three quarters of either on, all that nobody uses goes back
// at the end of each period, needed lately or not. It is read when the options want it, else by the background thread,
// so that a process that never has anything to give back pays nothing for it.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == HeapState {
  /// As the options say; nothing where they say nothing.
  func sizeArena() {
    let options = pointee.options
    func said(_ option: Option) -> UInt64 { UInt64(clamping: options[option]) }
    let size = ArenaSize(
      size: said(.kmemSize), minimum: said(.kmemSizeMin), maximum: said(.kmemSizeMax), scale: said(.kmemSizeScale))
    guard size.isSaid else { return }
    Heap.noteContainerLimit()
    let machine = UInt64(clamping: stave_memory_bytes())
    let memory = pointee.containerLimit > 0 ? Swift.min(machine, UInt64(pointee.containerLimit)) : machine
    if let bytes = size.bytes(memory: memory, page: UInt64(pageBytes)) { arena.limitWindow(to: UInt(bytes)) }
  }
}

extension Heap {
  @inline(never)
  static func noteContainerLimit() { heap.pointee.containerLimit = UInt(ContainerLimit.read() ?? 0) }

  /// Little is left of the memory there may be. A few loads.
  static var isNearLimit: Bool {
    let taken = arena.pointee.slabBytes + arena.pointee.largeBytes + arena.pointee.cachedBytes + arena.pointee.recentBytes
    return taken > mostMemory / 4 * 3
  }

  /// Bytes that the arena and the container leave it.
  static var mostMemory: UInt {
    let window = arena.pointee.windowEnd - arena.pointee.windowStart
    return heap.pointee.containerLimit > 0 ? min(window, heap.pointee.containerLimit) : window
  }
}
