// SPDX-License-Identifier: BSD-2-Clause
//
// How often caches ask a system that has no memory. They can do without, so after a refusal they do, for so many tries: where
// memory is limited each operation would otherwise end in a system call that fails.

import CPlatform

enum CachePatience {
  private static var tries: Int32 { 1000 }

  /// Whether the system may be asked for a bucket, or for a CPU's caches. Racing threads may count a try twice or not at all.
  static var mayAsk: Bool {
    guard zones.pointee.triesLeft > 0 else { return true }
    zones.pointee.triesLeft -= 1
    return false
  }

  @inline(never)
  static func noteRefusal() { zones.pointee.triesLeft = tries }
}
