// SPDX-License-Identifier: BSD-2-Clause
//
// C programs on libstave.so for tests to look into. Needs `make` first, and a C compiler.

import Glibc
import Testing

@testable import Inspection
@testable import TestSupport

/// Compiles a program and starts it on the library, without its background thread. Nil, said aloud, if that cannot be.
func startOnStave(_ text: String, _ name: String, _ options: String = "background:0") -> (Started, Folder)? {
  let library = Place.builtLibrary
  guard access(library, R_OK) == 0 else {
    announceSkip("programs on Stave: build/libstave.so is not there: run make first")
    return nil
  }
  guard let compiler = find("clang", "gcc", "cc") else {
    announceSkip("programs on Stave: no C compiler")
    return nil
  }
  let folder = Folder()
  let program = folder.file(name)
  guard (try? run(compiler, ["-fno-builtin", "-pthread", "-o", program, folder.write(text, name + ".c")]))?.succeeded == true,
    let child = try? Started(program, environment: ["LD_PRELOAD": library, "STAVE_OPTIONS": options])
  else { return nil }
  return (child, folder)
}

/// Until `condition` holds, at most some seconds.
func wait(for what: Comment, _ condition: () -> Bool) {
  for _ in 0..<30_000 {
    if condition() { return }
    usleep(1000)
  }
  Issue.record(what)
}

extension Started {
  var isStopped: Bool { (try? ProcessEntry(process: id))?.state == "T" }
  /// Its allocator has started, in the program of this name.
  func isOnStave(as name: String) -> Bool {
    guard let target = try? LiveProcess(process: id), target.entry.name == name else { return false }
    return (try? SnapshotReader(target).snapshot()) != nil
  }
}

/// A child on the library that holds known blocks and has stopped itself.
struct Holder {
  static let blocks = 20_000
  static let large = 12

  let child: Started
  let folder: Folder

  /// `busy`: so many threads that allocate and free without end; then it does not stop.
  init?(busy threads: Int = 0) {
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
    guard let (child, folder) = startOnStave(text, "holder") else { return nil }
    (self.child, self.folder) = (child, folder)
    var isReady = false
    for _ in 0..<60_000 where !isReady {
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

  var isStopped: Bool { child.isStopped }
}
