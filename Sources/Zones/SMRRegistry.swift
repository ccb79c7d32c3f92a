// SPDX-License-Identifier: BSD-2-Clause
//
// The threads that have places in the contexts of safe memory reclamation, and the list of contexts. A place is taken by one
// exchange of its owner, so that a signal handler may interrupt it and do the same. Places are taken back under the list lock alone,
// from threads that the system does not know.

import CPlatform
import Pages
import Primitives

struct SMRRegistry: ~Copyable {
  /// In the child of a fork. By address, so that what has no context does not have this code.
  var resumeInChild: @convention(c) () -> Void
  /// All contexts, under the list lock.
  var first: SMRPointer?
  /// What new contexts have: 1 if the system refuses membarrier.
  var fences: UInt32
  /// Owners that have ever been set lie below this.
  var used: Int32
  /// At so many it is time to take places back.
  var enough: UInt32

  static var contextBytes: Int { (3 + Int(STAVE_SMR_PLACES)) * Int(STAVE_SMR_LINE) }
  static var depthMask: UInt64 { UInt64(STAVE_SMR_STEP) - 1 }
  static var fenceThreads: Int32 { 1 << 3 }  // MEMBARRIER_CMD_PRIVATE_EXPEDITED
  static var registerFence: Int32 { 1 << 4 }  // MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
  private static var leastBeforeSweep: UInt32 { 64 }

  /// Makes it at the first call; nil if memory is not to be had.
  static func prepare() -> UnsafeMutablePointer<SMRRegistry>? {
    zones.pointee.listLock.lock()
    defer { zones.pointee.listLock.unlock() }
    if let registry = zones.pointee.smr { return registry }
    let bytes = MemoryLayout<SMRRegistry>.stride + Int(STAVE_SMR_PLACES) * 4
    guard let start = mapAnonymous(bytes: bytes, name: "stave:smr") else { return nil }
    let registry = UnsafeMutablePointer<SMRRegistry>(bitPattern: start)!
    registry.initialize(
      to: SMRRegistry(
        resumeInChild: { zones.pointee.smr!.resumeInChild() }, first: nil, fences: stave_membarrier(registerFence, 0, 0) == 0 ? 0 : 1, used: 0,
        enough: leastBeforeSweep))
    zones.pointee.smr = registry
    return registry
  }

  static func resetEnough(alive: UInt32) -> UInt32 { max(leastBeforeSweep, 2 * alive) }
}

extension UnsafeMutablePointer where Pointee == SMRRegistry {
  /// By place: the number of the thread that has it, 0 for none.
  private var owners: UnsafeMutablePointer<UInt32> { UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UInt32.self) }

  private func place(_ index: Int) -> UInt32 { UInt32(STAVE_SMR_CROWD) + UInt32(index + 1) * UInt32(STAVE_SMR_LINE) }

  private var used: Int { Int(stave_load32(&pointee.used)) }

  /// This thread's place, or one in the crowd if there is none left. Any signal handler may do the same meanwhile.
  func givePlace() {
    guard stave_smr_place() == 0 else { return }
    let thread = UInt32(truncatingIfNeeded: stave_gettid())
    if used >= Int(pointee.enough) { takePlacesBack() }
    for index in 0..<Int(STAVE_SMR_PLACES) where owners[index] == 0 && stave_replace32(&owners[index], 0, thread) {
      while true {
        let known = stave_load32(&pointee.used)
        if known > index || stave_swap32(&pointee.used, known, Int32(index + 1)) { break }
      }
      return stave_smr_set_place(place(index))
    }
    stave_smr_set_place(UInt32(STAVE_SMR_CROWD))
  }

  /// Calls `body` with every record that may have a section.
  func forEachRecord(of smr: SMRPointer, _ body: (UnsafeMutablePointer<UInt64>) -> Void) {
    body(stave_smr_record(smr, UInt32(STAVE_SMR_CROWD)))
    for index in 0..<used { body(stave_smr_record(smr, place(index))) }
  }

  /// From threads that have ended. A system call for each that has a place. Does nothing while somebody has the list lock.
  func takePlacesBack() {
    guard zones.pointee.listLock.tryLock() else { return }
    var alive: UInt32 = 0
    for index in 0..<used where owners[index] != 0 {
      if place(index) == stave_smr_place() || stave_thread_exists(owners[index]) {
        alive += 1
      } else {
        if clear(index) { report(owners[index]) }
        stave_store32(&owners[index], 0)
      }
    }
    pointee.enough = SMRRegistry.resetEnough(alive: alive)
    zones.pointee.listLock.unlock()
  }

  /// The owner is no more. Whether it was in a section.
  private func clear(_ index: Int) -> Bool {
    var wasInside = false
    var next = pointee.first
    while let smr = next {
      let record = stave_smr_record(smr, place(index))
      if record.pointee != 0 { wasInside = true }
      stave_store64(record, 0)
      next = smr.pointee.next
    }
    return wasInside
  }

  @inline(never)
  private func report(_ thread: UInt32) {
    var report = Report("deferred reuse")
    report.text("thread ")
    report.number(UInt(thread))
    report.text(" has ended inside a read section, which is over\n")
    report.write()
  }

  /// Of all threads only this one is left. The crowd's record, if it is in the crowd, stays as it is: who of them read is not known.
  func resumeInChild() {
    for index in 0..<used where owners[index] != 0 {
      if place(index) == stave_smr_place() {
        owners[index] = UInt32(truncatingIfNeeded: stave_gettid())
      } else {
        _ = clear(index)
        owners[index] = 0
      }
    }
    let isFenced = stave_membarrier(SMRRegistry.registerFence, 0, 0) == 0
    var next = pointee.first
    while let smr = next {
      if stave_smr_place() != UInt32(STAVE_SMR_CROWD) { stave_store64(stave_smr_record(smr, UInt32(STAVE_SMR_CROWD)), 0) }
      if !isFenced { smr.pointee.fences = 1 }
      next = smr.pointee.next
    }
    if !isFenced { pointee.fences = 1 }
  }
}
