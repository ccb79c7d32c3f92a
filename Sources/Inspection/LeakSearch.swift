// SPDX-License-Identifier: BSD-2-Clause
//
// # Blocks that nothing leads to
//
// A block is lost if no word that the program can still come by is its address, or an address inside it: no register of a thread, no
// word of a stack, of a global or thread-local variable, of other memory that the program has mapped (LeakRoots), and no word of a
// block that can be come by. It is a search from outside, of a process that is held or of a core, and conservative: a number that
// looks like an address counts as one, so does what an ended function has left on the stack. So a block may be out of reach and not be
// found, in rare cases for a while; one that is found is lost, unless the program keeps its address in another form (see LeakScan), in
// a file, in another process, or in memory that was not read, which the reading lists.
//
//   registers, mappings ──▶ LeakScan ──▶ ItemGraph ──▶ Reachability ──▶ LeakReading
//   walkItems, guards  ──▶ ItemIndex ┘     (the process goes on from here)
//
// Addresses inside a block count, since programs have them: of a member, of a base class, behind a header of their own. What is come
// by in no other way than by an address beyond the block's first 16 bytes is counted apart.
//
// A block is as the program knows it: between guard bytes without them, with the size that was asked for; a guarded one likewise; a
// plain one is all of its item. Stave's own zones are left out. Items of zones of a program's or library's own are no blocks, unless
// they are guarded; their memory is searched as any other of the program's.
//
// Threads may be inside malloc or free when they are stopped, with items in hand that look lost. So a process is held anew, for a
// second at most, until no thread is: that is known by the program counters, where the library is one of its own.
//
// Cost, of 100 MB in a million blocks: half a second, nearly all of it held (Documentation/Decisions.md), 36 bytes here for each block and 4 for each
// word that leads to one.

import CPlatform
import Diagnostics
import Glibc
import Heap
import Pages
import Primitives
import Zones

/// All that is to be known of a target for the search, read while it stood still.
public struct LeakPicture {
  var items: [LeakItem]
  var kinds: [LeakKind]
  var graph: ItemGraph
  var reading: LeakReading

  /// Needs the target no more.
  public func search() -> LeakReading {
    var reading = reading
    reading.describe(items, kinds, Reachability(graph))
    return reading
  }
}

extension SnapshotReader {
  /// Of a process, which is held meanwhile and goes on when this returns. Throws what ProcessHold does, and `damaged`.
  public func pictureForLeaks(holding live: LiveProcess) throws(InspectionError) -> LeakPicture {
    let library = try findLibrary()
    var hold = try ProcessHold(live.process)
    var began = clock_gettime_nsec()
    let first = began
    var registers = hold.registers()
    while library.isBusy(registers), clock_gettime_nsec() - first < 1_000_000_000 {
      hold.letGo()
      usleep(500)
      hold = try ProcessHold(live.process, after: hold)
      began = clock_gettime_nsec()
      registers = hold.registers()
    }
    defer { hold.letGo() }
    var picture = try pictureForLeaks(registers, library)
    picture.reading.threadsWithoutRegisters = hold.unheld + max(0, hold.held - registers.count)
    hold.letGo()
    picture.reading.heldFor = Double(clock_gettime_nsec() - began) / 1e9
    return picture
  }

  /// Of a core.
  public func pictureForLeaks(in core: CoreFile) throws(InspectionError) -> LeakPicture {
    var picture = try pictureForLeaks(core.registers, try findLibrary())
    picture.reading.threadsWithoutRegisters = max(0, core.identity.threads - core.registers.count)
    return picture
  }

  private func findLibrary() throws(InspectionError) -> LibraryCode {
    let copies = Copies(target)
    defer { copies.discard() }
    let stack = try readRoot(copies).part(HeapState.self, RootLayout.heapOffset).pointee.background.stack
    var library = LibraryCode(stack: AddressRange(start: stack, end: stack == 0 ? 0 : stack &+ UInt(Heap.stackBytes)))
    if location.modulePath != target.executablePath, let image = try? ElfImage(in: target, at: location.moduleBase), image.low < image.high {
      library.code = AddressRange(start: image.low, end: image.high)
    }
    return library
  }

  /// Of a target that stands still, with these threads.
  func pictureForLeaks(_ threads: [ThreadRegisters]) throws(InspectionError) -> LeakPicture {
    try pictureForLeaks(threads, try findLibrary())
  }

  private func pictureForLeaks(_ all: [ThreadRegisters], _ library: LibraryCode) throws(InspectionError) -> LeakPicture {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try readRoot(copies)
    let registers = all.filter { !library.isOwn($0) }
    var collection = LeakCollection(key: root.part(RedZoneState.self, RootLayout.redZoneOffset).pointee.key, names: [:], limit: try itemLimit())
    let snapshot = try snapshot()
    for type in snapshot.types { (collection.names[type.number], collection.hashes[type.number]) = (type.label, type.nameHash) }
    try walkItems { run throws(InspectionError) in try collection.add(run, target) }
    try addGuarded(root, to: &collection)
    let items = collection.sorted(), mappings = try target.mappings()
    let mapped = mappings.reduce(UInt(0)) { $0 &+ UInt(clamping: $1.length) }
    guard items.reduce(UInt(0), { $0 &+ $1.bytes }) <= mapped else { throw .damaged("live items of more bytes than are mapped") }
    let index = try ItemIndex(items)
    let scan = LeakScan(target, index)
    let roots = LeakRoots(mappings, threads: registers, own: try ownRanges(root), core: target as? CoreFile)
    for thread in registers { scan.addRoots(thread.words) }
    for root in roots.ranges { try scan.addRoots(root.range.start, root.range.end, isPrivate: root.isPrivate) }
    try scan.addItems()
    var reading = LeakReading()
    reading.threads = registers.count
    (reading.devices, reading.deviceBytes, reading.leftOutBytes) = (roots.devices, roots.deviceBytes, roots.leftOutBytes)
    (reading.rootBytes, reading.unreadRootBytes, reading.unreadItemBytes) = (scan.rootBytes, scan.unreadRootBytes, scan.unreadItemBytes)
    reading.contradictions = index.contradictions
    reading.isLinkedIn = library.code == nil
    reading.threadsInside = library.code == nil ? registers.count : library.inside(all)
    reading.emptyGuarded = collection.emptyGuarded
    reading.addZones(of: snapshot)
    reading.mostInHand = snapshot.zones.map(\.bucketSize).max() ?? 0
    return LeakPicture(items: index.items, kinds: collection.kinds, graph: scan.takeGraph(), reading: reading)
  }

  /// As many as the target has memory for, at 16 bytes each.
  private func itemLimit() throws(InspectionError) -> Int {
    if let core = target as? CoreFile { return Int(clamping: core.file.size) / 8 + 1024 }
    guard let live = target as? LiveProcess else { return 1 << 26 }
    return Int(clamping: try live.status().size) / 8
  }

  /// Blocks on pages of their own, by the records that are kept of them.
  private func addGuarded(_ root: RootCopy, to collection: inout LeakCollection) throws(InspectionError) {
    let page = UInt(max(1, root.part(RootHeader.self, 0).pointee.pageBytes))
    try walkGuarded(root) { block throws(InspectionError) in
      try collection.addGuarded(block)
      if target is CoreFile && isEmpty(block, page: page) { collection.emptyGuarded += 1 }
    }
  }

  /// Guarded items of zones that are in use; what malloc has guarded is not among them.
  public func guardedZoneItems() throws(InspectionError) -> Int {
    let copies = Copies(target)
    defer { copies.discard() }
    var count = 0
    try walkGuarded(readRoot(copies)) { block in if block.zone != 0 { count += 1 } }
    return count
  }

  private func walkGuarded(_ root: RootCopy, _ body: (GuardedBlock) throws(InspectionError) -> Void) throws(InspectionError) {
    let state = root.part(MemGuard.self, RootLayout.memguardOffset)
    guard state.pointee.bytes > 0, state.pointee.start <= ItemIndex.mask, state.pointee.bytes <= ItemIndex.mask else { return }
    let count = Int(state.pointee.records), perChunk = GuardedBlock.perChunk
    var next = 0
    while next < count {
      let chunk = try target.read(UInt.self, at: state.pointee.chunksAddress &+ UInt(next / perChunk * 8))
      // There is none before the first block that is guarded.
      guard chunk != 0 else { return }
      let blocks = try target.readArray(GuardedBlock.self, at: chunk, count: min(perChunk, count - next), limit: perChunk)
      for block in blocks where GuardedState.isOut(block.state) {
        let offset = block.address &- state.pointee.start
        guard offset < state.pointee.bytes, block.size > 0, block.size <= state.pointee.bytes - offset else { continue }
        try body(block)
      }
      next += perChunk
    }
  }
}

extension SnapshotReader {
  /// Whether a core lacks what is on a guarded block's pages: what there is beside the block is filled. gdb reads a mapping as far as
  /// the first page that it may not touch, and leaves holes.
  private func isEmpty(_ block: GuardedBlock, page: UInt) -> Bool {
    let beside = block.address % page > 0 ? block.address - 1 : block.address &+ block.size
    guard block.address % page > 0 || beside % page > 0 else { return false }
    return (try? target.read(UInt8.self, at: beside)) ?? 0 == 0
  }
}

/// Where Stave's library has its code, if it is one of its own, and its thread its stack: the thread that gives memory back.
struct LibraryCode {
  let stack: AddressRange
  /// Nil where Stave is linked into the program.
  var code: AddressRange?

  init(stack: AddressRange) { self.stack = stack }

  func isOwn(_ thread: ThreadRegisters) -> Bool { stack.contains(thread.stackPointer) }

  /// Threads that are inside; but for the library's own while it sleeps, waiting for a word of its stack.
  func inside(_ threads: [ThreadRegisters]) -> Int {
    threads.count { thread in
      isOwn(thread) ? !stack.contains(thread.argument) : code?.contains(thread.programCounter) ?? false
    }
  }

  func isBusy(_ threads: [ThreadRegisters]) -> Bool { inside(threads) > 0 }
}

/// The items, and of what kind each is.
private struct LeakCollection {
  let key: UInt64
  var names: [UInt32: String]
  var hashes: [UInt32: UInt32] = [:]
  let limit: Int
  private var items: [LeakItem] = []
  /// Where in `items` those of each run are, which are in order.
  private var runs: [(first: UInt, places: Range<Int>)] = []
  private(set) var kinds: [LeakKind] = []
  private var numbers: [LeakKind: UInt32] = [:]
  var emptyGuarded = 0

  init(key: UInt64, names: [UInt32: String], limit: Int) {
    self.key = key
    self.names = names
    self.limit = limit
  }

  private mutating func number(of kind: LeakKind) -> UInt32 {
    if let known = numbers[kind] { return known }
    let number = UInt32(kinds.count)
    kinds.append(kind)
    numbers[kind] = number
    return number
  }

  private func demandRoom(_ count: Int) throws(InspectionError) {
    guard items.count + count <= limit else { throw .damaged("more live items than there is memory for") }
  }

  /// In order of addresses, if no run lies in another.
  func sorted() -> [LeakItem] {
    var result: [LeakItem] = []
    result.reserveCapacity(items.count)
    for run in runs.sorted(by: { $0.first < $1.first }) { result += items[run.places] }
    return result
  }

  mutating func add(_ run: ItemRun, _ target: any TargetMemory) throws(InspectionError) {
    try demandRoom(run.addresses.count)
    runs.append((run.addresses.first ?? 0, items.count..<(items.count + run.addresses.count)))
    let kind = number(of: LeakKind(zone: run.zone, type: names[run.type] ?? "malloc", isMalloc: run.isMalloc, isLarge: run.isLarge))
    func plain(_ address: UInt) -> LeakItem { LeakItem(start: address, bytes: UInt(run.bytes), kind: kind) }
    guard run.isMalloc, key != 0, UInt(run.bytes) >= RedZone.leastItem else { return items += run.addresses.map(plain) }
    let bytes = Sixteens(target, run)
    let headers = try bytes.load(run.addresses)
    let copies = try bytes.load(run.addresses.map { $0 &+ UInt(run.bytes) &- RedZone.headerBytes })
    for (index, item) in run.addresses.enumerated() {
      guard let header = headers[index], let copy = copies[index],
        case .live(let block) = RedZone.find(header: header, copy: copy, item: item, bytes: UInt(run.bytes), key: key)
      else {
        items.append(plain(item))
        continue
      }
      items.append(LeakItem(start: block.address, bytes: max(1, block.size), kind: kind, stack: block.stack))
    }
  }

  mutating func addGuarded(_ block: GuardedBlock) throws(InspectionError) {
    try demandRoom(1)
    runs.append((block.address, items.count..<(items.count + 1)))
    // The number may be another type's by now; a name's hash is FixedName's.
    let name = block.zone != 0 ? "(a zone's item)" : block.type == 0 ? "malloc" : names[block.type].flatMap { hashes[block.type] == block.typeHash ? $0 : nil } ?? "a type that is gone"
    let kind = number(of: LeakKind(zone: "guarded", type: name, isGuarded: true))
    items.append(LeakItem(start: block.address, bytes: block.size, kind: kind, stack: block.allocationStack))
  }
}
