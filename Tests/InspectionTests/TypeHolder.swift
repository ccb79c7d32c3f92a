// SPDX-License-Identifier: BSD-2-Clause
//
// A child with malloc types of its own, of which a known CPU has asked for and another freed a known number of blocks. It has
// stopped itself. Needs `make` first.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

struct TypeHolder {
  /// Two types have this name.
  static let name = "twin"
  static let blocks = 1000
  static let freed = 400
  static let size = 48
  static let large = 2

  let child: Started
  let folder: Folder
  /// The CPU that asked, and the one that freed.
  let asker: Int
  let freer: Int

  init?() {
    asker = usableCPUs[0]
    freer = usableCPUs[usableCPUs.count - 1]
    let text = """
      #define _GNU_SOURCE
      #include <dlfcn.h>
      #include <pthread.h>
      #include <sched.h>
      #include <signal.h>
      #include <stdlib.h>
      #include "\(Place.root.path)/build/include/stave.h"
      static struct stave_type twins[2] = {{STAVE_TYPE_MAGIC, 1, "\(Self.name)", "", 0, 0, {0}}, {STAVE_TYPE_MAGIC, 1, "\(Self.name)", "", 0, 0, {0}}};
      static void *(*take)(size_t, struct stave_type *, int);
      static void (*give)(void *, struct stave_type *);
      static void *held[\(Self.blocks)], *large[\(Self.large)], *other[7];
      static void on(int cpu) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
      }
      static void *work(void *argument) {
        (void)argument;
        on(\(freer));
        for (int i = 0; i < \(Self.freed); i++) give(held[i], twins);
        return 0;
      }
      int main(void) {
        void (*enter)(struct stave_type *) = (void (*)(struct stave_type *))dlsym(RTLD_DEFAULT, "stave_type_register");
        take = (void *(*)(size_t, struct stave_type *, int))dlsym(RTLD_DEFAULT, "stave_malloc");
        give = (void (*)(void *, struct stave_type *))dlsym(RTLD_DEFAULT, "stave_free");
        on(\(asker));
        enter(twins);
        enter(twins + 1);
        for (int i = 0; i < \(Self.blocks); i++) held[i] = take(\(Self.size), twins, STAVE_NOWAIT);
        for (int i = 0; i < \(Self.large); i++) large[i] = take(100000, twins, STAVE_NOWAIT);
        for (int i = 0; i < 7; i++) other[i] = take(700 * i, twins + 1, STAVE_NOWAIT);
        pthread_t thread;
        pthread_create(&thread, 0, work, 0);
        pthread_join(thread, 0);
        raise(SIGSTOP);
        return 0;
      }
      """
    guard let (child, folder) = startOnStave(text, "typed", "background:0,types:library") else { return nil }
    (self.child, self.folder) = (child, folder)
    wait(for: "it stops") { child.isStopped }
    guard child.isStopped else { return nil }
  }
}
