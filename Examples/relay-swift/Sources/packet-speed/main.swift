// SPDX-License-Identifier: BSD-2-Clause
//
// packet-speed packets|bytebuffer|stave-bytebuffer allocate|append|prepend|share|split|pullup|hold COUNT
//
// What operations on packets of 512 bytes cost, with making and freeing the packet: Benchmarks/Sources/Workload/packets.c in Swift. Figures
// for Benchmarks, which takes the number of calls of malloc, too, by running it on libstave.so.

import Glibc
import NIOCore
import Stave
import StaveNIO

func nanoseconds() -> Int {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// `each`: operations of a turn.
func measure(_ turn: () -> Void, _ count: Int, each: Int = 1) {
  for _ in 0...1000 / each { turn() }
  let start = nanoseconds(), turns = max(1, count / each)
  for _ in 0..<turns { turn() }
  print("ops \(turns * each)\nns \(nanoseconds() - start)")
}

func run(_ operations: some Operations, _ name: String, _ count: Int) {
  switch name {
  case "allocate": measure(operations.allocate, count)
  case "append": measure(operations.append, count)
  case "prepend": measure(operations.prepend, count)
  case "share": measure(operations.share, count)
  case "split": measure(operations.split, count)
  case "pullup": measure(operations.pullUp, count)
  case "hold": measure({ operations.hold(heldCount) }, count, each: heldCount)
  default: fatalError("no such operation: \(name)")
  }
}

let words = Array(CommandLine.arguments.dropFirst())
guard words.count == 3, let count = Int(words[2]) else { fatalError("usage: packet-speed WAY OPERATION COUNT") }
switch words[0] {
case "packets": run(OnPackets(), words[1], count)
case "bytebuffer": run(OnByteBuffer(allocator: ByteBufferAllocator()), words[1], count)
case "stave-bytebuffer": run(OnByteBuffer(allocator: .stave), words[1], count)
default: fatalError("no such buffers: \(words[0])")
}
