// SPDX-License-Identifier: BSD-2-Clause
//
// contigmalloc(9): physically contiguous memory with a malloc type, for which it counts in whole pages (L54).

import Accounting
import CPlatform
import Pages
import Primitives
import Zones

extension Heap {
  /// Nil with ENOMEM or ENOTSUP in errno; `verbose:1` says why on standard error. What is no request ends the process.
  public static func allocateContiguous(
    _ request: ContiguousRequest, type: TypePointer, _ flags: WaitFlags
  ) -> UnsafeMutableRawPointer? {
    check(request)
    // What no number of bytes can be is refused before anything is charged for it.
    guard let size = request.size.roundedUp(to: UInt(pageBytes)), size <= UInt(Int.max) else { return fail(type) }
    if heap.pointee.options[.failureRate] > 0 && injectsFailure() { return refuse(type) }
    var whole = request
    whole.size = size
    whole.alignment = max(request.alignment, UInt(pageBytes))
    var isAtLimit = false
    var outcome = ContiguousOutcome.noMemory
    let number = type.pointee.number, waits = flags.checked.maySleep
    let start = type.take(Int(size), &isAtLimit) { () -> UInt? in
      outcome = arena.takeContiguous(whole, type: number, waits: waits) {
        reclaimAll(.drainCPU)
        arena.purge(recentToo: true)
      }
      if case .block(let start) = outcome { return start }
      return nil
    }
    if let start, let memory = UnsafeMutableRawPointer(bitPattern: start) {
      if isTraced { traceAllocation(memory, request.size) }
      return memory
    }
    if isAtLimit {
      explain(size, type, "it would be more than the type's limit")
      return fail(type)
    }
    switch outcome {
    case .block: break
    case .noMemory: explain(size, type, "no such memory at present")
    case .poolEmpty: explain(size, type, "the pool of huge pages is empty, or has no such run: see /proc/sys/vm/nr_hugepages")
    case .hidden:
      explain(size, type, "physical addresses are shown only to CAP_SYS_ADMIN")
      stave_add(&type.pointee.failures, 1)
      stave_set_errno(95 /* ENOTSUP */)
      return nil
    }
    return fail(type)
  }

  /// The exact size again, in whole pages. free() and its relatives take such a block as well; this finds out mistakes.
  public static func freeContiguous(_ memory: UnsafeMutableRawPointer?, size: UInt) {
    guard let memory, let bytes = heap.isReady ? arena.contiguousBytes(at: memory.address) : nil else {
      var report = Report("bad free")
      report.text("stave_contigfree() of ")
      report.address(UInt(bitPattern: memory))
      report.text(", which is no contiguous block\n")
      return report.finish()
    }
    guard size.roundedUp(to: UInt(pageBytes)) == bytes else {
      var report = Report("bad free")
      report.text("stave_contigfree() of ")
      report.number(size)
      report.text(" bytes at ")
      report.address(memory.address)
      report.text(", where a contiguous block of ")
      report.number(bytes)
      report.text(" bytes begins\n")
      return report.finish()
    }
    freeSlow(memory)
  }

  private static func check(_ request: ContiguousRequest) {
    func isNoPower(_ value: UInt) -> Bool { !value.isPowerOfTwo }
    guard request.size == 0 || isNoPower(request.alignment) || request.boundary != 0 && isNoPower(request.boundary) else { return }
    var report = Report("bad request")
    report.text("stave_contigmalloc() of ")
    report.number(request.size)
    report.text(" bytes, alignment ")
    report.number(request.alignment)
    report.text(", boundary ")
    report.number(request.boundary)
    report.text(": the size may not be 0, and the others must be powers of two\n")
    report.stop()
  }

  private static func explain(_ size: UInt, _ type: TypePointer, _ reason: StaticString) {
    guard heap.pointee.options[.verbose] == 1 else { return }
    var report = Report("no contiguous memory")
    report.number(size)
    report.text(" bytes for ")
    report.name(type.pointee.name)
    report.text(": ")
    report.text(reason)
    report.newline()
    report.write()
  }
}
