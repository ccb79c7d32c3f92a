// SPDX-License-Identifier: BSD-2-Clause
//
// fork: all locks in rank order before it; released in the parent, reset in the child. Other handlers around fork may run
// between ours on the forking thread, and allocate: to that thread the locks are open meanwhile, see FutexLock.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  public static func prepareFork() {
    guard heap.isReady else { return }
    heap.pointee.classLock.lock()
    types.lockForFork()
    lockZonesForFork()
    arena.pointee.lock.lock()
    memGuard.lockForFork()
    metadataPages.pointee.lock.lock()
    stave_own_fork(true)
  }

  public static func parentAfterFork() {
    // Locks were taken, whatever has begun since.
    guard stave_is_fork_owner() else { return }
    stave_own_fork(false)
    metadataPages.pointee.lock.unlock()
    memGuard.unlockAfterFork(inChild: false)
    arena.pointee.lock.unlock()
    unlockZonesAfterFork(inChild: false)
    types.unlockAfterFork(inChild: false)
    heap.pointee.classLock.unlock()
  }

  public static func childAfterFork() {
    guard stave_is_fork_owner() else { return }
    stave_own_fork(false)
    metadataPages.pointee.lock.resetInChild()
    memGuard.unlockAfterFork(inChild: true)
    arena.resumeInChild()
    arena.pointee.lock.resetInChild()
    unlockZonesAfterFork(inChild: true)
    types.unlockAfterFork(inChild: true)
    heap.pointee.classLock.resetInChild()
    root.pointee.process = UInt32(stave_getpid())
    OwnMailbox.empty()
    let stack = heap.pointee.background.stack
    heap.pointee.background = BackgroundState()
    heap.pointee.background.stack = stack
    heap.pointee.background.began = stave_nanoseconds()
    heap.pointee.mailboxBusy = 0
    CPUCache.reregister()
    // The parent's permission is not inherited.
    if heap.pointee.options[.inspect] == 1 { allowInspection(true) }
  }
}
