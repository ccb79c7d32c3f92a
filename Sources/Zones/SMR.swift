// SPDX-License-Identifier: BSD-2-Clause
//
// # Safe memory reclamation
//
// Readers walk a structure without a lock while writers take parts out of it and free them. What has been freed is reused when
// every reader that may have seen it has gone: FreeBSD's smr(9) in user space.
//
// Words
//   context    what readers and writers of one structure share: a sequence, and a record for each thread
//   section    what a reader does between enter and exit; sections nest, a signal handler's within the interrupted thread's
//   sequence   the context's clock. Writers advance it; a section bears the one at which it began
//   goal       what an advance returns: has every section begun at it or later, then what was out of reach before is nobody's
//   expired    said of a goal that all sections have reached
//
//   thread A's record  │ 7·1 ───────────── exit │ 0
//   thread B's record  │ 0                         8·1 ──────────────────
//   write sequence     │ 7       advance → 8, the goal
//   read sequence      │ 7                      ↑ 8: the goal has expired, although B reads
//
// A record is one word: the sequence above, in its low 16 bits how many sections the thread is in. Only its thread writes it, by
// plain stores, and a handler leaves it as it found it. So a thread may be preempted or moved to another CPU inside a section, and
// nested sections may end in any order: the outermost in time keeps its sequence. Records lie a cache line apart.
//
// Memory order. The writer: unlinks (U), advances to goal G, then, before it looks at records, has the system make every running
// thread of the process pass a full fence: membarrier(2). The reader: stores its record (S), then, held back from the compiler
// alone, loads pointers (L). Each thread's fence lies either behind S, and then the writer sees the record, or before S, and then L
// comes behind it and sees U: that reader cannot find the item. A record that the writer sees with a sequence ≥ G is of a reader that
// loaded this sequence, and so saw U as well, for an advance publishes all that was done before it. A sequence that was loaded long
// before it was stored is older than need be, which only delays. A record that is 0 again was cleared by a store behind all of the
// section's loads. Where the system refuses membarrier readers have a full fence between S and L, and the writer its own.
// The registering of a new thread's place comes before its S, so the same holds for it.
//
// The sequence has 48 bits and runs over: ages are compared, as distances behind the write sequence. A goal older than the whole
// range looks younger than it is, which only delays.
//
// Threads have places in all contexts alike, at their first section. Nobody says that a thread ends: places of threads that the
// system does not know any more are taken back when many have been given out, and when somebody waits long. A thread that ends
// inside a section is reported, and its section is over. In the child of a fork only the forking thread's sections go on. Beyond
// 32,765 threads the others share one record, the crowd's, by atomic additions: its sequence is the oldest of theirs.
//
// Costs: enter and exit, 1.3 ns together (2.4 where readers fence themselves); a poll that the read sequence does not answer, a
// membarrier and a load for each thread that has a place; a context, 2 MiB of addresses, of which a page is used for 64 threads.
//
// Weak points, known: a section that does not end holds up all that is freed in its context; the number of a thread that ended in a
// section may be another's before anybody looks, and the section then lasts until that one ends; a section that outlives 2^47
// advances counts as younger than it is (half a year at ten million a second); a process that forbids itself membarrier after a
// context was made reuses nothing of it any more (`poll` is false).

import CPlatform
import Pages
import Primitives
import Synchronization

public typealias SMR = stave_smr
public typealias SMRPointer = UnsafeMutablePointer<stave_smr>

/// A new context; nil if memory is not to be had. A system call or two.
public func makeSMR() -> SMRPointer? {
  guard let registry = SMRRegistry.prepare(), let start = mapAnonymous(bytes: SMRRegistry.contextBytes, name: "stave:smr") else { return nil }
  let smr = SMRPointer(bitPattern: start)!
  smr.pointee.fences = registry.pointee.fences
  zones.pointee.listLock.lock()
  smr.pointee.next = registry.pointee.first
  registry.pointee.first = smr
  zones.pointee.listLock.unlock()
  return smr
}

extension UnsafeMutablePointer where Pointee == SMR {
  /// Ends the context, which no zone uses any more, and no thread. False, and it stays, if some zone or section does.
  @discardableResult
  public func destroy() -> Bool {
    let registry = zones.pointee.smr!
    registry.takePlacesBack()
    zones.pointee.listLock.lock()
    var isIdle = pointee.users == 0
    registry.forEachRecord(of: self) { if $0.pointee != 0 { isIdle = false } }
    if isIdle {
      var link: SMRPointer? = nil
      var next = registry.pointee.first
      while let smr = next, smr != self { (link, next) = (smr, smr.pointee.next) }
      if let link { link.pointee.next = pointee.next } else { registry.pointee.first = pointee.next }
    }
    zones.pointee.listLock.unlock()
    if isIdle { _ = stave_munmap(UInt(bitPattern: self), SMRRegistry.contextBytes) }
    return isIdle
  }

  // MARK: - Readers

  /// Begins a section: what is found from here on stays what it is until `exit`. Sections nest. No lock, no waiting; any thread, any
  /// signal handler. A few loads and a store; at a thread's first, a place is looked for.
  @inline(__always)
  public func enter() {
    if !stave_section_enter(self) { enterFirst() }
  }

  /// Ends a section of this thread.
  @inline(__always)
  public func exit() {
    #if STAVE_CHECK_LOCKS
    if stave_load64(record) == 0 { return reportExit() }
    #endif
    if !stave_section_exit(self) { exitCrowd() }
  }

  @inline(__always)
  public func read<Result: ~Copyable, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    enter()
    defer { exit() }
    return try body()
  }

  /// Whether this thread is in a section of this context. Of threads of the crowd it is not known: false.
  @inline(__always)
  public var isInside: Bool { stave_smr_place() > UInt32(STAVE_SMR_CROWD) && record.pointee != 0 }

  @inline(__always)
  var record: UnsafeMutablePointer<UInt64> { stave_smr_record(self, stave_smr_place()) }
  private var crowd: UnsafeMutablePointer<UInt64> { stave_smr_record(self, UInt32(STAVE_SMR_CROWD)) }

  @inline(never)
  private func enterFirst() {
    zones.pointee.smr!.givePlace()
    if stave_section_enter(self) { return }
    while true {
      let word = stave_load64(crowd)
      let isFull = word & SMRRegistry.depthMask == SMRRegistry.depthMask
      if !isFull, stave_replace_word(crowd, word, (word == 0 ? stave_load64(&pointee.write) : word) &+ 1) { break }
      if isFull { _ = stave_yield() }
    }
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  @inline(never)
  private func exitCrowd() {
    while true {
      let word = stave_load64(crowd)
      if word == 0 || stave_replace_word(crowd, word, word & SMRRegistry.depthMask == 1 ? 0 : word - 1) { return }
    }
  }

  // MARK: - Writers

  /// The goal of all that has been made unreachable until now. One atomic addition.
  public func advance() -> UInt64 { stave_sequence_advance(self) }

  /// Whether a goal has expired; with `wait` not before it has. A load or two if it is known; else a membarrier and a look at every
  /// record. To wait inside a section of this context would be to wait for oneself: that is reported, and false. Also false if the
  /// system refuses membarrier.
  public func poll(_ goal: UInt64, wait: Bool = false) -> Bool {
    if isReached(goal) { return true }
    if wait && isInside { return reportWaitInside() }
    var rounds = 0
    while true {
      let isProven = lookAtRecords()
      if isReached(goal) { return true }
      guard wait, isProven || rounds < 3 else { return false }
      pause(rounds)
      rounds += 1
    }
  }

  /// Waits until all that was unreachable at the call is nobody's. False as with `poll`.
  @discardableResult
  public func synchronize() -> Bool { poll(advance(), wait: true) }

  /// Whether it is known that a goal has expired: it lies at least as far behind the write sequence as the read sequence does.
  func isReached(_ goal: UInt64) -> Bool {
    let read = stave_load64(&pointee.read)
    let write = stave_load64(&pointee.write)
    return write &- goal >= write &- read
  }

  /// Brings the read sequence up to the oldest section. False if the system refuses the fence without which records say nothing.
  private func lookAtRecords() -> Bool {
    let write = stave_load64(&pointee.write)
    guard fenceReaders() else { return false }
    var oldest = write
    zones.pointee.smr!.forEachRecord(of: self) { record in
      let word = stave_load64(record)
      let sequence = word & ~SMRRegistry.depthMask
      if word != 0 && Int64(bitPattern: oldest &- sequence) > 0 { oldest = sequence }
    }
    while true {
      let read = stave_load64(&pointee.read)
      let now = stave_load64(&pointee.write)
      if now &- read <= now &- oldest || stave_replace_word(&pointee.read, read, oldest) { return true }
    }
  }

  /// Every reader of this process passes a full fence.
  private func fenceReaders() -> Bool {
    if pointee.fences == 0 { return stave_membarrier(SMRRegistry.fenceThreads, 0, 0) == 0 }
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return true
  }

  /// Yields at first; then sleeps up to a millisecond, and looks for threads that have ended.
  private func pause(_ rounds: Int) {
    if rounds < 20 {
      _ = stave_yield()
    } else {
      if rounds & 63 == 63 { zones.pointee.smr!.takePlacesBack() }
      var never: UInt32 = 0
      _ = stave_futex_wait(&never, 0, Swift.min(Int64(rounds) * 10_000, 1_000_000))
    }
  }

  // MARK: - Stamps

  /// The low half of a goal's sequence, for who has 32 bits for it.
  static func stamp(of goal: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: goal >> 16) }

  /// The youngest goal with this stamp: the one it was made of, or, after 2^32 advances, one that expires later.
  func goal(ofStamp stamp: UInt32) -> UInt64 {
    let write = stave_load64(&pointee.write)
    return write &- UInt64(SMRPointer.stamp(of: write) &- stamp) << 16
  }

  // MARK: - Reports and checks

  @inline(never)
  private func reportWaitInside() -> Bool {
    var report = Report("deferred reuse")
    report.text("a thread waits for readers to leave while it is in a section of the same context itself\n")
    report.finish()
    return false
  }

  @inline(never)
  private func reportExit() {
    var report = Report("deferred reuse")
    report.text("a thread leaves a section in which it is not\n")
    report.finish()
  }

  /// What must hold at any time.
  public func checkInvariants() {
    let read = stave_load64(&pointee.read)
    let write = stave_load64(&pointee.write)
    precondition(Int64(bitPattern: write &- read) >= 0, "the read sequence is ahead of the write sequence")
    precondition((write | read) & SMRRegistry.depthMask == 0, "sequences have room for the count of sections")
    zones.pointee.smr!.forEachRecord(of: self) { record in
      let word = stave_load64(record)
      precondition(word == 0 || word & SMRRegistry.depthMask != 0, "a section that nobody is in")
    }
  }
}
