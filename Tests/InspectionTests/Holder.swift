// SPDX-License-Identifier: BSD-2-Clause
//
// A process to take snapshots of: a C program on libstave.so that holds known blocks, or works without end.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

/// A child on the library that holds known blocks and has stopped itself.
struct Holder {
  static let blocks = 20_000
  static let large = 12

  let child: Started
  let folder: Folder

  /// `busy`: so many threads that allocate and free without end; then it does not stop.
  init?(busy threads: Int = 0) {
    let library = Place.builtLibrary
    guard access(library, R_OK) == 0 else {
      announceSkip("snapshots: build/libstave.so is not there: run make first")
      return nil
    }
    guard let compiler = find("clang", "gcc", "cc") else {
      announceSkip("snapshots: no C compiler")
      return nil
    }
    folder = Folder()
    let text = """
      #include <pthread.h>
      #include <signal.h>
      #include <stdlib.h>
      #include <string.h>
      static void *work(void *argument) {
        static __thread void *some[50000];
        for (unsigned seed = (unsigned)(long)argument + 1;;) {
          unsigned count = 1000 + rand_r(&seed) % 49000;
          size_t size = rand_r(&seed) % 4 ? 16 + rand_r(&seed) % 1000 : 16;
          for (unsigned i = 0; i < count; i++) some[i] = malloc(size);
          void *large = malloc(1 << 20 | rand_r(&seed) % (200 << 20));
          for (unsigned i = 0; i < count; i++) free(some[i]);
          free(large);
        }
        return 0;
      }
      int main(void) {
        pthread_t thread;
        for (long i = 1; i < \(threads); i++) pthread_create(&thread, 0, work, (void *)i);
        if (\(threads)) work(0);
        static void *held[\(Self.blocks * 2)];
        for (int i = 0; i < \(Self.blocks * 2); i++) held[i] = memset(malloc(1 + i % 3000), 1, 1);
        for (int i = 0; i < \(Self.blocks * 2); i += 2) free(held[i]);
        for (int i = 0; i < \(Self.large); i++) held[i * 2] = memset(malloc(1 << 20), 1, 1);
        raise(SIGSTOP);
        return 0;
      }
      """
    let program = folder.path + "/holder"
    guard (try? run(compiler, ["-fno-builtin", "-pthread", "-o", program, folder.write(text, "holder.c")]))?.succeeded == true,
      let child = try? Started(program, environment: ["LD_PRELOAD": library, "STAVE_OPTIONS": "background:0"])
    else { return nil }
    self.child = child
    var isReady = false
    for _ in 0..<5000 where !isReady {
      usleep(1000)
      isReady = threads > 0 ? hasStarted : isStopped
    }
    guard isReady else {
      Issue.record("the program has not come to the point where it is looked at")
      return nil
    }
  }

  /// Its allocator, that is.
  private var hasStarted: Bool {
    guard let target = try? LiveProcess(process: child.id), let snapshot = try? SnapshotReader(target).snapshot() else { return false }
    return target.entry.name == "holder" && snapshot.largeBytes > 0
  }

  var isStopped: Bool { (try? ProcessEntry(process: child.id))?.state == "T" }
}
