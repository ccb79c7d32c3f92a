// SPDX-License-Identifier: BSD-2-Clause
//
// Which pages of a live process are in memory or swapped out: the others of private memory have never been written to, of shared
// memory it has not touched them; and a program may have a thousand times as many of them. /proc/PID/pagemap says it, in a word for each page; where it cannot be read all are.

import Glibc

final class PresentPages {
  private let descriptor: Int32
  private let page: UInt

  /// Nil where the system does not say it.
  init?(_ target: any TargetMemory) {
    guard let live = target as? LiveProcess else { return nil }
    page = UInt(getpagesize())
    descriptor = open("/proc/\(live.process)/pagemap", O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { return nil }
  }

  deinit { close(descriptor) }

  /// The parts of [start, end) that have pages, in order; all of it where that cannot be read. A system call for 32 MiB.
  func ranges(_ start: UInt, _ end: UInt) -> [(start: UInt, end: UInt)] {
    let present: UInt64 = 1 << 63 | 1 << 62
    var found: [(start: UInt, end: UInt)] = []
    var position = start / page * page
    while position < end {
      let words = [UInt64](unsafeUninitializedCapacity: 8192) { space, filled in
        let wanted = min(UInt(space.count), (end - position + page - 1) / page)
        filled = max(0, pread(descriptor, space.baseAddress, Int(wanted) * 8, off_t(position / page * 8))) / 8
      }
      if words.isEmpty { return [(start, end)] }
      for word in words {
        if word & present != 0 {
          let (from, to) = (max(start, position), min(end, position + page))
          if let last = found.last, last.end == from { found[found.count - 1].end = to } else { found.append((from, to)) }
        }
        position += page
      }
    }
    return found
  }
}
