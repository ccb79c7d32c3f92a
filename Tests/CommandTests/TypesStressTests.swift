// SPDX-License-Identifier: BSD-2-Clause
//
// Types that come and go in many threads while `stave types` looks from outside, a hundred times a second if it can: no look
// fails, no figure is negative or beyond what the program ever holds, no name is one that the program has not made. Some seconds;
// in a soak more than a minute.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary, "make builds the library")) struct TypesStressTests {
  private static let threads = 8, names = 6, blocks = 300, largest = 200_000, steady = 1000
  private static var seconds: Int { Stage.scale == 1 ? 5 : max(5, min(Stage.scale, 100) * 7 / 10) }

  private static let program = """
    #define _GNU_SOURCE
    #include <malloc.h>
    #include <pthread.h>
    #include <stave.h>
    #include <stdatomic.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <time.h>
    #include <unistd.h>
    enum { threads = \(threads), names = \(names), most = \(blocks), largest = \(largest), steady = \(steady) };
    STAVE_TYPE_DEFINE(M_STEADY, "steady", "does not change");
    static time_t end;
    static _Atomic(unsigned char *) handed[threads];
    static void *held[steady];
    static size_t draw(uint64_t *state, size_t bound) {
      *state = *state * 6364136223846793005u + 1442695040888963407u;
      return (*state >> 33) % bound;
    }
    static void wrong(const char *what) { fprintf(stderr, "WRONG %s\\n", what); _exit(3); }
    // The first byte says what the last one is, if the block has more than a few.
    static unsigned char *take(struct stave_type *type, uint64_t *state) {
      size_t size = draw(state, 50) ? 2 + draw(state, 2000) : 2 + draw(state, largest);
      int zero = draw(state, 4) == 0;
      unsigned char *block = stave_malloc(size, type, STAVE_NOWAIT | (zero ? STAVE_ZERO : 0));
      if (!block) wrong("no memory");
      if (zero && (block[0] || block[size - 1])) wrong("not zero");
      if (stave_usable_size(block) < size) wrong("size");
      block[0] = block[1] = (unsigned char)*state;
      return block;
    }
    static void give(unsigned char *block, struct stave_type *type) {
      if (!block) return;
      if (block[0] != block[1]) wrong("contents");
      if (block[0] & 1) free(block); else stave_free(block, type);
    }
    static void *work(void *argument) {
      int self = (int)(intptr_t)argument;
      uint64_t state = \(Stage.seed) + self;
      static __thread unsigned char *blocks[most], *later[16];
      while (time(NULL) < end) {
        char name[40];
        if (draw(&state, 4)) snprintf(name, sizeof name, "t%d-%d", self, (int)draw(&state, names)); else strcpy(name, "common");
        struct stave_type *type = calloc(1, sizeof *type);
        type->magic = STAVE_TYPE_MAGIC, type->version = 1, type->name = name, type->description = "comes and goes";
        if (draw(&state, 2)) stave_type_register(type);
        int count = 1 + (int)draw(&state, draw(&state, 3) ? 20 : most);
        for (int i = 0; i < count; i++) {
          blocks[i] = take(type, &state);
          if (draw(&state, 8) == 0) {
            unsigned char mark = blocks[i][0];
            blocks[i] = stave_realloc(blocks[i], 2 + draw(&state, 3000), type, STAVE_WAITOK);
            if (blocks[i][0] != mark) wrong("moved contents");
          }
          if (draw(&state, 16) == 0) {
            // A neighbour frees it, perhaps when its type has ended.
            give(atomic_exchange(&handed[draw(&state, threads)], blocks[i]), type);
            blocks[i] = NULL;
          }
        }
        for (int i = 0; i < count; i++) give(blocks[i], type);
        int stays = draw(&state, 20) == 0;
        if (stays) for (int i = 0; i < 16; i++) later[i] = take(type, &state);
        if (draw(&state, 100) == 0) { struct mallinfo2 info = mallinfo2(); if (info.uordblks > (size_t)1 << 32) wrong("mallinfo2"); }
        stave_type_unregister(type);
        if (type->internals) wrong("internals of a type that has ended");
        if (stays) for (int i = 0; i < 16; i++) give(later[i], NULL);
        free(type);
      }
      return NULL;
    }
    int main(void) {
      pthread_t all[threads];
      for (int i = 0; i < steady; i++) held[i] = stave_malloc(64, M_STEADY, STAVE_WAITOK);
      end = time(NULL) + \(seconds);
      puts("ready"); fflush(stdout);
      for (intptr_t i = 0; i < threads; i++) pthread_create(&all[i], NULL, work, (void *)i);
      for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
      puts("done");
      return 0;
    }
    """

  /// The command as `make` leaves it, where it is there: it is to look often.
  private static var command: String {
    let fast = Place.root.appending(path: "build/stave").path
    return access(fast, X_OK) == 0 ? fast : Built.command
  }

  /// Its blocks that are out when a type ends are reported, each time: not kept.
  private func launch(_ folder: Folder) throws -> Started? {
    guard let compiler = find("gcc", "clang", "cc") else {
      announceSkip("types under stress: no compiler")
      return nil
    }
    let include = Place.root.appending(path: "build/include").path, program = folder.file("stress")
    let built = try run(compiler, ["-O2", "-pthread", folder.write(Self.program, "stress.c"), "-I" + include, Built.library, "-o", program])
    try #require(built.succeeded, built.report)
    let environment = ["LD_PRELOAD": Built.library, "STRESS": program]
    return try Started("/bin/sh", ["-c", "exec \"$STRESS\" 2> \"$STRESS.errors\""], environment: environment)
  }

  @Test func `types come and go in many threads under looks from outside`() throws {
    let folder = Folder()
    guard let program = try launch(folder) else { return }
    #expect(wait { program.printed.contains("ready") })
    let looks = try start(Self.command, ["types", "--all", "--json", "-w", "0.01", "\(program.id)"])
    let tables = try start(Self.command, ["types", "-w", "0.01", "\(program.id)"])
    let ended = program.end(within: Double(Self.seconds) + 60)
    let errors = (try? String(contentsOfFile: folder.file("stress.errors"), encoding: .utf8)) ?? ""
    #expect(ended.succeeded && ended.text.contains("done"), "\(ended.report) \(errors.suffix(500))")
    let json = looks.end(within: 20), text = tables.end(within: 20)
    #expect(json.status == 0 && json.errorText.isEmpty, "\(json.errorText)")
    #expect(text.status == 0 && text.errorText.isEmpty, "\(text.errorText)")
    var count = 0
    for line in json.text.split(separator: "\n") {
      count += 1
      let wrong = try Self.faults(in: object(String(line)))
      #expect(wrong.isEmpty, "look \(count): \(wrong)")
      if !wrong.isEmpty { break }
    }
    let names = Set(text.text.split(separator: "\n").compactMap { $0.split(separator: " ").first.map(String.init) })
    #expect(names.allSatisfy { $0 == "Type" || Self.isKnown($0) }, "\(names.filter { !Self.isKnown($0) })")
    #expect(!text.text.split(separator: "\n").contains { $0.contains(" -") }, "a negative figure")
    print("types under stress: \(count) looks in \(Self.seconds) s, \(names.count) names")
    #expect(count >= 3 && names.count > Self.threads)
  }

  /// A name that the program makes, with the number that tells types of one name apart.
  private static func isKnown(_ label: String) -> Bool {
    let parts = label.split(separator: "_")
    guard parts.count == 1 || parts.count == 2 && Int(parts[1]) != nil else { return false }
    if ["malloc", "steady", "common"].contains(parts[0]) { return true }
    let numbers = parts[0].dropFirst().split(separator: "-").compactMap { Int($0) }
    return parts[0].first == "t" && numbers.count == 2 && 0..<threads ~= numbers[0] && 0..<names ~= numbers[1]
  }

  /// What one look says that cannot be.
  private static func faults(in look: [String: Any]) throws -> [String] {
    var faults: [String] = []
    let sum = try #require(look["sum"] as? [String: Int])
    let parts = ["used", "cached", "holes", "in-transit", "metadata", "purgeable", "returned"].map { sum[$0] ?? -1 }
    if parts.contains(where: { $0 < 0 }) || parts.reduce(0, +) != sum["mapped"] { faults.append("a sum that does not close: \(sum)") }
    let types = try #require((look["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]])
    var seen: Set<String> = []
    for type in types {
      let name = type["type"] as? String ?? "?", instance = type["instance"] as? Int ?? -1
      func figure(_ key: String) -> Int { type[key] as? Int ?? -1 }
      let blocks = figure("in-use"), bytes = figure("memory-use")
      if !isKnown(instance > 0 ? "\(name)_\(instance)" : name) { faults.append("no type has the name \(name)_\(instance)") }
      if !seen.insert("\(name)_\(instance)").inserted { faults.append("\(name)_\(instance) twice") }
      if ["in-use", "memory-use", "requests", "fail", "large-blocks", "large-bytes"].contains(where: { figure($0) < 0 }) { faults.append("negative: \(type)") }
      if name == "steady", blocks != steady || bytes != steady * 64 || figure("requests") != steady { faults.append("steady changes: \(type)") }
      // More than a type ever holds, by the most that may change hands between the looks at two counters.
      if name == "common" || name.hasPrefix("t"), blocks > 3 * Self.blocks || bytes > 3 * Self.blocks * (largest + 4096) { faults.append("too much: \(type)") }
    }
    if !seen.contains("steady_0") { faults.append("steady is not there") }
    return faults
  }
}
