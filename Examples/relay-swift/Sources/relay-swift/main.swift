// SPDX-License-Identifier: BSD-2-Clause
//
// relay-swift PORT HOST TARGETPORT [packets | bytebuffer | stave-bytebuffer | malloc]

import Glibc
import Stave

let words = CommandLine.arguments
guard words.count >= 4, let port = UInt16(words[1]), let there = UInt16(words[3]), let target = PacketAddress(words[2], port: there) else {
  fail("usage: relay-swift PORT HOST TARGETPORT [packets | bytebuffer | stave-bytebuffer | malloc]")
}
signal(SIGPIPE, SIG_IGN)
switch words.count > 4 ? words[4] : "packets" {
case "packets": Relay<OnPackets>(port: port, target: target).run()
case "bytebuffer": Relay<OnBlocks<BufferBlock>>(port: port, target: target).run()
case "stave-bytebuffer": Relay<OnBlocks<StaveBlock>>(port: port, target: target).run()
case "malloc": Relay<OnBlocks<MallocBlock>>(port: port, target: target).run()
default: fail("no such buffers: \(words[4])")
}
