// SPDX-License-Identifier: BSD-2-Clause
//
// The walk over live items, of a process that knows which blocks it holds; and holding a process.

import CPlatform
import Glibc
import Testing
import Zones

@testable import Inspection
@testable import TestSupport

@Suite struct LiveItemsTests {
  /// Writes the address and usable size of each block it holds, then stops itself.
  static let program = """
    #include <malloc.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <unistd.h>
    static void *held[6000];
    static void *work(void *part) {
      unsigned seed = 7 + (unsigned)(long)part;
      for (int round = 0; round < 40000; round++) {
        int i = (int)(long)part * 2000 + rand_r(&seed) % 2000;
        free(held[i]);
        held[i] = rand_r(&seed) % 3 == 0 ? 0 : rand_r(&seed) % 100 == 0 ? malloc(40000 + rand_r(&seed) % 300000) : malloc(rand_r(&seed) % 3000);
      }
      return 0;
    }
    int main(void) {
      pthread_t threads[3];
      for (long i = 0; i < 3; i++) pthread_create(&threads[i], 0, work, (void *)i);
      for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
      static char text[400000];
      int used = 0;
      for (int i = 0; i < 6000; i++) if (held[i]) used += sprintf(text + used, "%lx %zu\\n", (unsigned long)held[i], malloc_usable_size(held[i]));
      used += sprintf(text + used, "all\\n");
      if (write(1, text, used) != used) return 1;
      raise(SIGSTOP);
      for (;;) pause();
    }
    """

  @Test(arguments: ["background:0", "background:0,percpu:locked", "background:0,types:library"])
  func `T11 the walk over live items gives those that are out, not what is free or cached`(_ options: String) throws {
    guard let (child, folder) = startOnStave(Self.program, "items", options) else { return }
    try withExtendedLifetime(folder) {
      wait(for: "the program stops") { child.isStopped }
      var held: [UInt: Int] = [:]
      for line in child.printed.split(separator: "\n") {
        let words = line.split(separator: " ")
        if words.count == 2 { held[UInt(words[0], radix: 16)!] = Int(words[1])! }
      }
      #expect(held.count > 2000 && child.printed.hasSuffix("all\n"))
      let reader = try SnapshotReader(LiveProcess(process: child.id))
      let snapshot = try reader.snapshot()
      var found: [UInt: Int] = [:], large = 0, others = 0, byType: [UInt32: Int] = [:]
      try reader.walkItems { run throws(InspectionError) in
        if !run.isMalloc { return }
        byType[run.type, default: 0] += run.addresses.count
        for address in run.addresses {
          #expect(found[address] == nil)
          found[address] = run.bytes
          large += run.isLarge ? 1 : 0
          others += held[address] == nil ? 1 : 0
        }
      }
      for (address, size) in held where found[address] != size { Issue.record("\(address.hexadecimal) of \(size): \(found[address] ?? 0)") }
      // All the rest is libc's own: of threads, of its output, of the loader.
      #expect(others < 60, "\(others)")
      #expect(large == snapshot.largeBlocks)
      for type in snapshot.types { #expect(byType[type.number, default: 0] == type.used, "\(type.name)") }
    }
  }

  @Test func `a depot without end is damage, said within bounds`() throws {
    guard let (child, folder) = startOnStave(Self.program, "items") else { return }
    try withExtendedLifetime(folder) {
      wait(for: "the program stops") { child.isStopped }
      let target = Altered(try LiveProcess(process: child.id))
      let reader = try SnapshotReader(target), copies = Copies(target)
      let places = try reader.findZones(try reader.readRoot(copies), try reader.readRegions(try reader.readRoot(copies)), copies)
      let bucket = try places.lazy.map { try copies.structure(Zone.self, at: $0.zone).pointee.full.map { UInt(bitPattern: $0) } ?? 0 }.first { $0 != 0 }
      copies.discard()
      target.words[try #require(bucket)] = UInt64(bucket!)
      #expect(throws: InspectionError.self) { try reader.walkItems { _ in } }
    }
  }

  @Test func `a process is held with all its threads, and let go`() throws {
    let text = """
      #include <pthread.h>
      #include <stdlib.h>
      #include <string.h>
      #include <unistd.h>
      static volatile long counts[4];
      static void *work(void *part) { for (;;) { counts[(long)part]++; free(malloc(100)); } }
      int main(void) {
        pthread_t thread;
        for (long i = 1; i < 4; i++) pthread_create(&thread, 0, work, (void *)i);
        usleep(10000);
        char text[40] = "";
        unsigned long number = (unsigned long)counts;
        for (int i = 15; i >= 0; i--) { text[i] = "0123456789abcdef"[number & 15]; number >>= 4; }
        text[16] = '\\n';
        if (write(1, text, strlen(text)) < 0) return 1;
        work(0);
      }
      """
    guard let (child, folder) = startOnStave(text, "counts") else { return }
    try withExtendedLifetime(folder) {
      wait(for: "it works") { child.printed.hasSuffix("\n") }
      let target = try LiveProcess(process: child.id)
      let place = try #require(UInt(child.printed.dropLast(), radix: 16))
      func counts() throws -> [Int] { try target.readArray(Int.self, at: place, count: 4, limit: 4) }
      for _ in 0..<20 {
        let hold = try ProcessHold(child.id)
        #expect(hold.held == 4 && hold.unheld == 0)
        let before = try counts()
        usleep(2000)
        #expect(try counts() == before)
        hold.letGo()
        var tries = 0
        while try zip(counts(), before).contains(where: { $0 <= $1 }) && tries < 5000 {
          usleep(1000)
          tries += 1
        }
        #expect(tries < 5000, "all threads go on")
      }
      #expect(throws: InspectionError.noSuchProcess(999_999_999)) { _ = try ProcessHold(999_999_999) }
    }
  }

  /// Found by 10,000 looks at damaged structures: a slab that would lie at the end of all addresses.
  @Test func `items of a slab that goes round the end of addresses are read one by one`() throws {
    let run = ItemRun(
      zone: "malloc-64", type: 0, isMalloc: true, isLarge: false, bytes: 64, addresses: (0..<8).map { UInt.max &- 127 &+ UInt($0) &* 64 })
    #expect(run.addresses.last! < run.addresses[0])
    let loaded = try Sixteens(LiveProcess(process: getpid()), run).load(run.addresses)
    #expect(loaded.count == 8 && loaded.allSatisfy { $0 == nil })
  }
}
