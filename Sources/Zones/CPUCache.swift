// SPDX-License-Identifier: BSD-2-Clause
//
// The per-CPU caches. Each CPU that has run a slow path owns a *region*: an array of cells, one per zone, then the slots of
// each cell:
//
//   | cells | first slots of each cell, 64 | further slots, for cells that have grown |
//
// A cell begins in its first slots, which lie close together, so that many zones used a little touch few pages. It moves to
// its further slots when they run full and it has run empty before, and back when somebody empties it. For more slots help
// only where a CPU allocates and frees by turns; one that only frees would fill them and never use what they hold. Two ways
// protect a cell:
//
//   restartable  sections of CPlatform/stave_rseq_*.h, run by threads on that CPU only
//   locked       a lock per region, where restartable sequences are not to be had or `percpu:locked` asks for it
//
// Whoever empties another CPU's cells first takes them out of its threads' sight: the CPU's entry in the hot table becomes
// the array of empty cells, then membarrier(2) restarts every section that is under way there. From then until the entry is
// put back nobody else touches them. Threads on that CPU meanwhile take the slow path and go round the cache.
//
// Lock: `regionLock` (rank region) for creating regions and cells and for emptying; in locked mode also each region's own.
// A region is 128 KiB of cells and 4 MiB of slots in address space; pages are touched as zones use them.

import CPlatform
import Pages
import Primitives
import Synchronization

public typealias CellPointer = UnsafeMutablePointer<stave_cell>

public enum CPUCache {
  static var cellsBytes: Int { Int(STAVE_MAX_CELLS) * MemoryLayout<stave_cell>.stride }
  /// Slots a cell begins with, and two words before them: whether it has run empty, and the one that is always zero.
  static let firstCapacity: UInt32 = 64
  static var firstSlotBytes: Int { 8 * (Int(firstCapacity) + 2) }
  static var furtherSlots: Int { cellsBytes + Int(STAVE_MAX_CELLS) * firstSlotBytes }
  public static var regionBytes: Int { furtherSlots + 2 << 20 }
  /// Cells 0 and 1 belong to no zone: 0 is always empty, and the memory of 1 holds the region's lock.
  static let firstCell = 2

  // MARK: - Choosing the mode

  /// Restartable if glibc has registered this thread, the kernel can restart sections on other CPUs, and nothing forbids it.
  public static func start(forceLocked: Bool) {
    zones.pointee.regionLock.rank = LockRank.region
    zones.pointee.nextSlot = UInt32(furtherSlots)
    zones.pointee.nextCell = firstCell
    let guards = stave_cpu_table()
    guards[-1] = stave_no_cells()
    guards[-2] = stave_no_cells()
    root.pointee.regions = UInt(bitPattern: stave_regions())
    stave_hot().pointee.rseq_offset = stave_libc_rseq_offset()
    let usable =
      !forceLocked && stave_has_rseq() != 0 && stave_libc_has_rseq() != 0 && stave_rseq_cpu() >= 0
      && stave_membarrier(registerRestart, 0, 0) == 0
    root.pointee.mode = usable ? CacheMode.restartable : CacheMode.locked
    // Threads on CPUs without a region must find empty cells, not zero: also on those that the system did not name.
    let reachable = min(max(Int(root.pointee.cpuCount), stave_cpu_set_size()), Int(STAVE_MAX_CPUS))
    for cpu in 0..<reachable { guards[cpu] = stave_no_cells() }
  }

  /// In the child of a fork, which may not have inherited the registration.
  public static func reregister() {
    if !isLocked { _ = stave_membarrier(registerRestart, 0, 0) }
  }

  /// Before there are other threads: no thread finds cells any more but by the locked operations.
  public static func switchToLocked() {
    root.pointee.mode = CacheMode.locked
    stave_hot().pointee.small_limit = 0
    stave_hot().pointee.typed_limit = 0
    stave_hot().pointee.unit_count = 0
    for cpu in 0..<Int(root.pointee.cpuCount) { stave_cpu_table()[cpu] = stave_no_cells() }
  }

  static let registerRestart: Int32 = 1 << 8  // MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ
  static let restart: Int32 = 1 << 7  // MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ

  @inline(__always)
  static var isLocked: Bool { root.pointee.mode != CacheMode.restartable }

  /// Where a cell lies in each CPU's region, for who runs the restartable sections itself; 0 where they must not be run.
  public static func offset(ofCell cell: Int) -> UInt64 { isLocked ? 0 : UInt64(cell * MemoryLayout<stave_cell>.stride) }

  /// The CPU this thread runs on, as a hint; nil where it may not use a cache.
  @inline(__always)
  public static var currentCPU: Int? {
    let cpu = isLocked ? Int(stave_current_cpu()) : Int(stave_rseq_cpu())
    return cpu >= 0 && cpu < Int(root.pointee.cpuCount) ? cpu : nil
  }

  // MARK: - Regions

  /// The cells of a CPU, nil if it has none yet.
  @inline(__always)
  public static func cells(of cpu: Int) -> CellPointer? {
    stave_load_pointer(stave_regions() + cpu)?.assumingMemoryBound(to: stave_cell.self)
  }

  @inline(__always)
  static func lock(of cells: CellPointer) -> UnsafeMutablePointer<FutexLock> {
    UnsafeMutableRawPointer(cells + 1).assumingMemoryBound(to: FutexLock.self)
  }

  /// Gives this CPU a region if it has none. Failure leaves it without: operations then go round the cache.
  static func prepare() {
    guard let cpu = currentCPU, cells(of: cpu) == nil, !isPassedBy, CachePatience.mayAsk else { return }
    zones.pointee.regionLock.lock()
    defer { zones.pointee.regionLock.unlock() }
    guard stave_regions()[cpu] == nil else { return }
    guard let start = mapAnonymous(bytes: regionBytes, name: "stave:caches") else { return CachePatience.noteRefusal() }
    let cells = CellPointer(bitPattern: start)!
    lock(of: cells).initialize(to: FutexLock(rank: LockRank.regionCells))
    for index in firstCell..<zones.pointee.nextCell where stave_cell_places()[index].taken != 0 {
      prepareCell(index, of: cells)
    }
    // The pointer is published last; threads on this CPU see it by the next load of the table.
    stave_store_pointer(stave_regions() + cpu, cells)
    if !isLocked { publish(cells, for: cpu) }
    zones.pointee.regionCount += 1
  }

  private static func prepareCell(_ index: Int, of cells: CellPointer) {
    cells[index].word = 0
    cells[index].moved = 0
    cells[index].reciprocal = stave_cell_places()[index].reciprocal
    useFirstSlots(index, of: cells)
  }

  /// The cell is empty, and nobody else's to touch.
  static func useFirstSlots(_ index: Int, of cells: CellPointer) {
    let slots = UnsafeMutableRawPointer(cells) + cellsBytes + index * firstSlotBytes + 16
    cells[index].slots = slots.assumingMemoryBound(to: UInt.self)
    stave_store32(&cells[index].capacity, min(firstCapacity, UInt32(stave_cell_places()[index].most)))
  }

  private static func useFurtherSlots(_ index: Int, of cells: CellPointer) {
    let slots = UnsafeMutableRawPointer(cells) + Int(stave_cell_places()[index].slots) + 8
    slots.copyMemory(from: cells[index].slots!, byteCount: 8 * Int(cells[index].word & 0xffff))
    cells[index].slots = slots.assumingMemoryBound(to: UInt.self)
  }

  /// Gives the pages of the further slots back, if all cells have been emptied. They are nobody else's to touch.
  static func returnFurtherSlots(of cells: CellPointer) {
    for index in firstCell..<zones.pointee.nextCell where cells[index].capacity > firstCapacity { return }
    let used = Int(zones.pointee.nextSlot) - furtherSlots
    _ = stave_madvise(UInt(bitPattern: cells) + UInt(furtherSlots), used, 4 /* MADV_DONTNEED */)
  }

  // MARK: - Cells

  /// A cell for a zone whose items are `itemBytes` apart, with room for `capacity` items on each CPU: its index, nil if all
  /// are taken. `reciprocal` is what the push section's membership test multiplies by; all ones lets every address pass.
  static func addCell(capacity: Int, reciprocal: UInt32) -> Int? {
    zones.pointee.regionLock.lock()
    defer { zones.pointee.regionLock.unlock() }
    let places = stave_cell_places()
    var index = firstCell
    while index < zones.pointee.nextCell {
      if places[index].taken == 0 && Int(places[index].capacity) == capacity { break }
      index += 1
    }
    if index == zones.pointee.nextCell {
      let bytes = capacity > Int(firstCapacity) ? UInt32((capacity + 1) * 8) : 0
      guard index < Int(STAVE_MAX_CELLS), Int(zones.pointee.nextSlot + bytes) <= regionBytes else { return nil }
      places[index] = stave_cell_place(slots: zones.pointee.nextSlot, reciprocal: 0, capacity: UInt16(capacity), taken: 0, most: 0)
      zones.pointee.nextSlot += bytes
      zones.pointee.nextCell += 1
    }
    places[index].taken = 1
    places[index].most = places[index].capacity
    places[index].reciprocal = reciprocal
    forEachRegion { prepareCell(index, of: $0) }
    return index
  }

  /// The cell must have been emptied by `drain`; its zone does not use it any more.
  static func removeCell(_ index: Int) {
    zones.pointee.regionLock.lock()
    stave_cell_places()[index].taken = 0
    forEachRegion { $0[index].capacity = 0 }
    zones.pointee.regionLock.unlock()
  }

  @inline(__always)
  public static func forEachRegion(_ body: (CellPointer) -> Void) {
    for cpu in 0..<Int(root.pointee.cpuCount) {
      if let cells = cells(of: cpu) { body(cells) }
    }
  }

  // MARK: - The four operations, in whichever mode

  @inline(__always)
  static func pop(_ cell: Int) -> UnsafeMutableRawPointer? {
    isLocked ? lockedPop(cell) : stave_pop(UInt64(cell * MemoryLayout<stave_cell>.stride))
  }

  enum Push {
    case pushed, full, again
  }

  @inline(__always)
  static func push(_ cell: Int, _ item: UnsafeMutableRawPointer) -> Push {
    if isLocked { return lockedPush(cell, item) }
    switch Int(stave_push(UInt64(cell * MemoryLayout<stave_cell>.stride), item)) {
    case Int(STAVE_PUSHED): return .pushed
    case Int(STAVE_PUSH_AGAIN): return .again
    default: return .full
    }
  }

  /// Moves up to `count` items from `items` into this CPU's cell; how many.
  static func fill(_ cell: Int, from items: UnsafePointer<UInt>, count: Int) -> Int {
    if isLocked { return lockedFill(cell, from: items, count: count) }
    var into: CellPointer? = nil
    let filled = Int(stave_fill(UInt64(cell * MemoryLayout<stave_cell>.stride), items, UInt64(count), &into))
    if filled > 0 { addMoved(into!, -Int64(filled)) }
    return filled
  }

  /// Moves up to `count` items off the top of this CPU's cell; how many.
  static func flush(_ cell: Int, to items: UnsafeMutablePointer<UInt>, count: Int) -> Int {
    if isLocked { return lockedFlush(cell, to: items, count: count) }
    var outOf: CellPointer? = nil
    let flushed = Int(stave_flush(UInt64(cell * MemoryLayout<stave_cell>.stride), items, UInt64(count), &outOf))
    if flushed > 0 { addMoved(outOf!, Int64(flushed)) }
    return flushed
  }

  /// Not 0 if the cell has run empty since it last grew: a hint, which any thread may write.
  private static func hasRunEmpty(_ cell: Int, of cells: CellPointer) -> UnsafeMutablePointer<UInt> {
    (UnsafeMutableRawPointer(cells) + cellsBytes + cell * firstSlotBytes).assumingMemoryBound(to: UInt.self)
  }

  /// This CPU's cell has nothing to give.
  static func noteEmpty(_ cell: Int) {
    guard let cpu = currentCPU, let cells = cells(of: cpu) else { return }
    hasRunEmpty(cell, of: cells).pointee = 1
  }

  /// Lets this CPU's cell, which is full, grow to at most twice its capacity. False if it has all its slots already, or has
  /// not run empty since it last grew. The first time costs a membarrier, since the cell moves.
  static func grow(_ cell: Int) -> Bool {
    guard let cpu = currentCPU, let cells = cells(of: cpu), hasRunEmpty(cell, of: cells).pointee != 0 else { return false }
    hasRunEmpty(cell, of: cells).pointee = 0
    let limit = UInt32(stave_cell_places()[cell].most)
    let capacity = cells[cell].capacity
    guard capacity > 0, capacity < limit else { return false }
    if capacity > firstCapacity {
      // A racing store is as good, while the cell is where it is: every value up to the limit is right.
      return stave_replace32(&cells[cell].capacity, capacity, min(capacity * 2, limit))
    }
    return withExclusiveCells(of: cpu) { cells in
      guard cells[cell].capacity == firstCapacity else { return }
      useFurtherSlots(cell, of: cells)
      cells[cell].capacity = min(2 * firstCapacity, limit)
    }
  }

  static func addMoved(_ cell: CellPointer, _ count: Int64) { stave_add(&cell.pointee.moved, count) }

  /// Whether nothing has happened on the CPU since the last call, while its cells hold something. The sum is kept beside
  /// the region's lock.
  public static func isIdle(_ cpu: Int) -> Bool {
    guard let cells = cells(of: cpu) else { return false }
    var sum: UInt64 = 0
    var fill: UInt64 = 0
    for index in firstCell..<zones.pointee.nextCell {
      sum = sum &* 31 &+ cells[index].word
      fill |= cells[index].word & 0xffff
    }
    let kept = UnsafeMutableRawPointer(cells + 1) + 16
    let isSame = kept.load(as: UInt64.self) == sum
    kept.storeBytes(of: sum, as: UInt64.self)
    return isSame && fill != 0
  }

  // MARK: - Emptying a CPU's cells from elsewhere

  /// Calls `body` with the cells of `cpu` while nobody else can touch them. False if they could not be had.
  static func withExclusiveCells(of cpu: Int, _ body: (CellPointer) -> Void) -> Bool {
    zones.pointee.regionLock.lock()
    defer { zones.pointee.regionLock.unlock() }
    guard let cells = cells(of: cpu) else { return true }
    if isLocked {
      lock(of: cells).pointee.lock()
      body(cells)
      lock(of: cells).pointee.unlock()
      return true
    }
    stave_cpu_table()[cpu] = stave_no_cells()
    guard stave_membarrier(restart, 1 /* this CPU only */, Int32(cpu)) == 0 || stave_membarrier(restart, 0, 0) == 0 else {
      publish(cells, for: cpu)
      return false
    }
    body(cells)
    atomicStoreFence()
    publish(cells, for: cpu)
    return true
  }
}

@inline(__always)
func atomicStoreFence() { atomicMemoryFence(ordering: .sequentiallyConsistent) }
