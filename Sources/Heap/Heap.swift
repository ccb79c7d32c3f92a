// SPDX-License-Identifier: BSD-2-Clause
//
// # Heap
//
// The policy of malloc on zones: which zone serves a size, when the heap comes into being, what happens at fork, when
// memory is given back.
//
//   size ≤ 32 KiB     the zone of its class ("malloc-16" … "malloc-32768"), made when first needed
//   larger            a large block of the arena, in whole pages
//
// Start-up. The first call, whoever makes it and however early, sets up metadata, window, zones (in this order) on one
// thread while others wait. It needs no libc. Options are read when libstave's constructor runs, since only then the
// environment is known; until then the defaults hold.
//
// Fork. All locks are taken in rank order before, released after in the parent, reset in the child. What other threads of the
// parent held in hand at that moment, at most a bucket or a new slab each, is lost to the child. The background thread does not
// exist in the child until it is needed there.
//
// Giving back. A background thread (Heap+Background) looks once a period while there is something to do, and ends itself
// when there is not.

import Diagnostics
import Accounting
import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

public struct HeapState: ~Copyable {
  // What readers outside copy.
  public var classZones: ClassZones
  public var options: OptionValues
  /// Calls that returned NULL for want of memory or by injection.
  public var failures: Int64
  public var injectedFailures: Int64
  public var background: BackgroundState

  var mailboxBusy: UInt32
  /// Where the zone table and the report of `leaks` go at exit.
  var statisticsFile: Int32
  var statisticsFileIdentity: UInt64
  let phase: Atomic<UInt32>
  var classLock: FutexLock
  let slowCalls: Atomic<UInt32>
  /// Bytes that slow calls of free moved on, modulo 2^32: how often to look for work is counted by it.
  let freedBytes: Atomic<UInt32>
  /// Calls that `failure_rate` counts.
  let injectableCalls: Atomic<UInt32>
  /// Types were switched on when the process was running already (CallerTypes).
  var watchesLoading: Bool
  /// Where blocks go that are not ours, in a process whose malloc is another; nil where it is this one.
  public var freeElsewhere: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?
  /// Bytes of memory that the process's containers leave it (ContainerLimit); 0 if there is no limit, or nobody has looked yet.
  public var containerLimit: UInt

  /// As `statisticsFileIdentity`: whatever file is there.
  static var anyFile: UInt64 { .max }
}

@inline(__always)
public var heap: UnsafeMutablePointer<HeapState> { rootState(HeapState.self, at: RootLayout.heapOffset) }

enum Phase {
  static let cold: UInt32 = 0
  static let starting: UInt32 = 1
  static let ready: UInt32 = 2
}

extension UnsafeMutablePointer where Pointee == HeapState {
  @inline(__always)
  public var isReady: Bool { pointee.phase.load(ordering: .acquiring) == Phase.ready }

  /// Sets everything up, once. False if the system has no memory for it; the next call tries again.
  @inline(never)
  public func start() -> Bool {
    while true {
      if isReady { return true }
      if pointee.phase.compareExchange(expected: Phase.cold, desired: Phase.starting, ordering: .acquiringAndReleasing).exchanged {
        let isDone = setUp()
        pointee.phase.store(isDone ? Phase.ready : Phase.cold, ordering: .releasing)
        return isDone
      }
      _ = stave_yield()
    }
  }

  /// For a process whose malloc is another, as when the program brings its own: C++'s operators, which the program may leave to us,
  /// then take their memory there too (StaveMalloc), and what is not ours is freed at `free`. Otherwise a block could be made
  /// in one heap and asked about at the other. malloc itself goes on: the other one may be built upon it.
  public func stepAside(freeingAt free: @convention(c) (UnsafeMutableRawPointer?) -> Void) {
    pointee.freeElsewhere = free
    openFastPath()
  }

  /// The fast path serves all sizes of zones; or none, with locked caches, where the process's malloc is another, where calls are
  /// to fail, where somebody traces them, where sizes are counted, where some blocks are guarded or have guard bytes, and where each
  /// call is looked at, for its caller, its hash class or a scope. At any time: a call that is under way ends as it began.
  func openFastPath() {
    // A reason may come or go in another thread meanwhile, the first scope, a change of options, a tracer: who stores last looks last.
    repeat { atomicMemoryFence(ordering: .sequentiallyConsistent) } while setLimits()
  }

  /// As the reasons of this moment are. False if they were so already.
  private func setLimits() -> Bool {
    let isOpen =
      root.pointee.mode == CacheMode.restartable && pointee.freeElsewhere == nil && pointee.options[.failureRate] == 0
      && pointee.options[.sizes] == 0 && pointee.options[.redZone] == 0 && !Heap.isTraced
    let whole = isOpen ? UInt64(SizeClass.largest) + 1 : 0
    let isGuarding = memGuard.isOn, mayGuardPlain = isGuarding && memGuard.mayGuardPlain
    // While there are guards, what passes them by is served behind both.
    let limit = isGuarding ? 0 : whole
    let plainLimit = Heap.looksAtRequests ? 0 : whole
    let claims: UInt32 = CPUCache.isPassedBy || isGuarding || pointee.options[.redZone] > 0 ? 1 : 0
    // All CPUs read these: a store that changes nothing would still cost them a cache miss.
    var isChanged = false
    func set<Word: Equatable>(_ place: UnsafeMutablePointer<Word>, _ value: Word) {
      guard place.pointee != value else { return }
      place.pointee = value
      isChanged = true
    }
    let hot = stave_hot()
    set(&hot.pointee.small_limit, mayGuardPlain ? 0 : plainLimit)
    set(&hot.pointee.typed_limit, limit)
    set(&hot.pointee.guarded_limit, isGuarding ? whole : 0)
    set(&hot.pointee.passing_limit, mayGuardPlain && memGuard.meansAllPlain ? plainLimit : 0)
    set(&hot.pointee.claims, claims)
    return isChanged
  }

  private func setUp() -> Bool {
    let header = root
    if header.pointee.version == 0 {
      // Set already by tests that simulate another page size.
      if header.pointee.pageBytes == 0 { header.pointee.pageBytes = UInt32(stave_page_bytes()) }
      header.pointee.process = UInt32(stave_getpid())
      header.pointee.cpuCount = UInt32(Swift.min(stave_possible_cpus(), Int(STAVE_MAX_CPUS)))
      header.pointee.started = stave_nanoseconds()
      pointee.options = OptionValues()
      pointee.classLock.rank = LockRank.fork
      Heap.nameReports()
      metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
      guard zones.start() else { return false }
      zones.pointee.describeOthers = { address, report in
        Heap.describeOtherOwner(of: address, in: &report.assumingMemoryBound(to: Report.self).pointee)
      }
      header.pointee.layoutDigest = layoutDigest()
      header.pointee.release = Heap.release
      OwnMailbox.hangBell()
      CPUCache.start(forceLocked: false)
      types.start()
      Report.showStacks()
      // Done for good, whatever becomes of the rest: a second try begins behind this.
      header.pointee.version = RootLayout.version
    }
    guard arena.start() else { return false }
    header.pointee.magic = RootLayout.magic
    openFastPath()
    return true
  }

  /// Called by libstave's constructor: `environment` is nil where it must not be trusted.
  public func configure(environment: UnsafePointer<UnsafePointer<CChar>?>?) {
    guard start() else { return }
    if let environment { pointee.options.read(environment: environment) }
    Heap.startHashClasses()
    applyReports()
    memoryDomains.pointee.faked = UInt32(truncatingIfNeeded: pointee.options[.domains])
    types.choose(UInt32(pointee.options[.probes]), for: .probes)
    types.choose(UInt32(pointee.options[.redZoneType]), for: .redZone)
    zones.pointee.isQuiet = pointee.options[.zoneWarnings] == 0
    if pointee.options[.percpu] == 1 { CPUCache.switchToLocked() }
    if pointee.options[.sizes] == 1 && !sizeHistogram.begin() { pointee.options.values[Option.sizes.rawValue] = 0 }
    if pointee.options[.memguard] != 0 { Heap.noteContainerLimit() }
    if pointee.options[.memguard] == 0 || !Heap.configureGuards() { openFastPath() }
    if pointee.options[.check] == 1 { _ = applyChecks() }
    if pointee.options[.inspect] == 1 { Heap.allowInspection(true) }
    if pointee.options[.hugepages] != 0 { arena.setHugePages(pointee.options[.hugepages]) }
    sizeArena()
    if pointee.options[.stats] == 1 || pointee.options[.leaks] == 1 {
      // Programs close standard error before they end; what we say then goes to a descriptor of our own, closed by exec.
      let copy = stave_syscall6(Int(SYS_fcntl), 2, 1030 /* F_DUPFD_CLOEXEC */, 64, 0, 0, 0)
      pointee.statisticsFile = copy >= 0 ? Int32(copy) : 2
      pointee.statisticsFileIdentity = stave_file_identity(2)
    }
    if pointee.options[.verbose] == 1 {
      metadataPages.pointee.namesAll = true
      printConfiguration()
    }
  }

  /// The zone of a class, made when first asked for. Nil if memory is not to be had.
  @inline(never)
  func zone(_ index: Int) -> ZonePointer? { publishedZone(&pointee.classZones, index) ?? makeZone(index) }

  @inline(never)
  private func makeZone(_ index: Int) -> ZonePointer? {
    pointee.classLock.lock()
    defer { pointee.classLock.unlock() }
    if let zone = pointee.classZones[index] { return zone }
    let size = SizeClass.size(index)
    guard
      let zone = Zones.makeZone(
        name: FixedName("malloc-").appending(number: size), layout: .heap(size: size), alignMask: 15, flags: .malloc,
        hooks: ZoneHooks(), source: .arena, cellCapacity: SizeClass.cellCapacity(size: size),
        bucketSize: SizeClass.bucketSize(size: size), reciprocal: SizeClass.reciprocal(size: size))
    else { return nil }
    zone.pointee.depotLimit = SizeClass.depotLimit(size: size)
    if hashClasses.isOn { zone.pointee.instance = 0 }
    zone.pointee.keg.pointee.cellOffset = UInt16(zone.pointee.cell)
    publish(zone, in: &pointee.classZones, index)
    // From here on the fast path finds the cell.
    var step = index == 0 ? 0 : SizeClass.size(index - 1) / 16 + 1
    while step <= size / 16 {
      stave_size_table()[step] = UInt16(zone.pointee.cell)
      step += 1
    }
    return zone
  }

  /// `stats:exit`: the table, `leaks:exit`: what is out; unless the program has closed the descriptor and perhaps opened a file of its
  /// own there.
  public func finish() {
    guard isReady else { return }
    let file = fileAtEnd
    let saysZones = pointee.options[.stats] == 1 && file >= 0
    let saysLeaks = pointee.options[.leaks] == 1 && (file >= 0 || stave_reports().pointee.place != ReportPlace.standardError)
    guard saysZones || saysLeaks else { return }
    guard zones.pointee.listLock.isToBeHad(), types.pointee.lock.isToBeHad(), metadataPages.pointee.lock.isToBeHad() else {
      var report = Report("exit")
      report.text("the process ends inside the allocator: what is in use is not counted\n")
      if file >= 0 { report.write(to: file) } else { report.write() }
      return
    }
    if saysZones { printZones(to: file) }
    guard saysLeaks else { return }
    stave_reports().pointee.copy = file
    Heap.reportLeaks()
  }

  /// -1 for none.
  private var fileAtEnd: Int32 {
    guard pointee.statisticsFileIdentity != 0 else { return -1 }
    if pointee.statisticsFileIdentity == HeapState.anyFile || stave_file_identity(pointee.statisticsFile) == pointee.statisticsFileIdentity {
      return pointee.statisticsFile
    }
    return stave_file_identity(2) == pointee.statisticsFileIdentity ? 2 : -1
  }

  private func printConfiguration() {
    var report = Report("version", Heap.version)
    report.text(root.pointee.mode == CacheMode.restartable ? "caches restartable" : "caches locked")
    for index in 0..<Option.count {
      let option = Option(rawValue: index)!
      report.text(", ")
      report.text(option.key)
      report.text(":")
      let value = pointee.options.values[index]
      if option.takesWords { report.text(option.words[Int(value)]) } else { report.number(UInt(value)) }
    }
    report.text("\n")
    report.write()
  }
}

extension Heap {
  /// Of the library and of the command; it stands here alone.
  public static var version: StaticString { "0.1.0" }

  /// The version as the root has it: major, minor and patch, a byte each.
  static var release: UInt32 {
    var whole: UInt32 = 0
    var part: UInt32 = 0
    for index in 0..<version.utf8CodeUnitCount {
      let byte = version.utf8Start[index]
      if byte == UInt8(ascii: ".") { (whole, part) = (whole << 8 | part, 0) } else { part = part * 10 + UInt32(byte - UInt8(ascii: "0")) }
    }
    return whole << 8 | part
  }

  /// `inspect:any`: every process of this user may read this one; or none again whom Yama would not let.
  static func allowInspection(_ isAllowed: Bool) { _ = stave_prctl(0x5961_6d61 /* PR_SET_PTRACER */, isAllowed ? ~0 : 0, 0, 0, 0) }
}

/// Over the sizes of all that readers outside copy, so that a reader of another build notices. Fields that change places
/// within one size do not show here (Embedded Swift has no key paths to ask for offsets): `RootLayout.version` says it, and a
/// test of the offsets says when to raise it.
public func layoutDigest() -> UInt32 {
  var digest: UInt32 = 2_166_136_261
  func mix(_ value: Int) { digest = (digest ^ UInt32(truncatingIfNeeded: value)) &* 16_777_619 }
  mix(MemoryLayout<RootHeader>.size)
  mix(MemoryLayout<MetadataPages>.size)
  mix(MemoryLayout<OwnerMap>.size)
  mix(MemoryLayout<Arena>.size)
  mix(MemoryLayout<ZonesState>.size)
  mix(MemoryLayout<HeapState>.size)
  mix(MemoryLayout<Zone>.size)
  mix(MemoryLayout<Keg>.size)
  mix(MemoryLayout<Slab>.size)
  mix(MemoryLayout<Bucket>.size)
  mix(MemoryLayout<stave_cell>.size)
  mix(MemoryLayout<TypesState>.size)
  mix(MemoryLayout<TypeRecord>.size)
  mix(MemoryLayout<LargeTotals>.size)
  mix(MemoryLayout<SizeHistogram>.size)
  mix(MemoryLayout<SizeBin>.size)
  mix(MemoryLayout<ItemChecks>.size)
  mix(MemoryLayout<MemGuard>.size)
  mix(MemoryLayout<GuardedBlock>.size)
  mix(MemoryLayout<StacksState>.size)
  mix(MemoryLayout<StackTable>.size)
  mix(MemoryLayout<StackRecord>.size)
  mix(MemoryLayout<RedZoneState>.size)
  mix(MemoryLayout<HashClasses>.size)
  mix(MemoryLayout<MetadataChunks>.size)
  mix(MemoryLayout<Deferral>.size)
  mix(MemoryLayout<Pool>.size)
  mix(MemoryLayout<PoolCache>.size)
  return digest
}
