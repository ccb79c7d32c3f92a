// SPDX-License-Identifier: BSD-2-Clause
//
// Which files only forward.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

@Suite struct ForwardingListTests {
  private func isListed(_ path: String, skipping others: String = "") -> Bool {
    Array(others.utf8).withUnsafeBufferPointer { others in
      Array((path + "\0").utf8).withUnsafeBufferPointer {
        ForwardingList.contains($0.baseAddress!, others: others.baseAddress, others.count)
      }
    }
  }

  @Test(arguments: [
    "/lib/x86_64-linux-gnu/libc.so.6", "/lib/libc-2.31.so", "libc.so.6", "/opt/lib/libstave.so.0",
    "/usr/lib/libstdc++.so.6.0.30", "/usr/lib/libc++.so.1", "/usr/lib/libc++abi.so.1.0", "/a/libswiftCore.so", "/a/libFoundation.so",
    "/a/libFoundationEssentials.so", "/a/lib_FoundationICU.so", "/a/libglib-2.0.so.0", "/a/libgobject-2.0.so.0.7400.6",
  ])
  func `libraries that ask on behalf of others are on the list`(path: String) { #expect(isListed(path)) }

  @Test(arguments: [
    "", "/", "/usr/bin/python3", "/lib/libcurl.so.4", "/lib/libcrypto.so.3", "/lib/libc", "/lib/libc_malloc_debug.so.0", "/libc.so.6/program",
    "/lib/libc.so.6/", "/lib/xlibc.so.6", "/a/libswiftCoreLocation.so", "/a/libswift_Concurrency.so", "linux-vdso.so.1", "/lib/libstdc", "/a/libglib-20.so", "/lib64/ld-linux-x86-64.so.2",
  ])
  func `others are not`(path: String) { #expect(!isListed(path)) }

  @Test func `users name more, with any version, or a star for any ending`() {
    #expect(isListed("/lib/libssl.so.3", skipping: "libssl"))
    #expect(isListed("/lib/libssl.so.3", skipping: "libcrypto+libssl+libxml2"))
    #expect(isListed("/lib/libxml2.so.2", skipping: "libcrypto+libssl+libxml2"))
    #expect(isListed("/lib/libm++.so.2", skipping: "libssl+libm++"))
    #expect(isListed("/lib/libm++.so.2", skipping: "libm+++libssl"))
    #expect(isListed("/lib/libssl.so.3", skipping: "libm+++libssl"))
    #expect(!isListed("/lib/libm.so.6", skipping: "libm+++libssl"))
    #expect(!isListed("/lib/libsslfoo.so.3", skipping: "libssl"))
    #expect(isListed("/lib/libsslfoo.so.3", skipping: "libssl*"))
    #expect(!isListed("/lib/libss.so.3", skipping: "libssl*"))
    #expect(!isListed("/lib/libssl.so.3", skipping: "+"))
    #expect(isListed("/lib/libssl.so.3", skipping: "*"))
    #expect(!isListed("/lib/libssl.so.3", skipping: "libss+ibssl+ssl"))
  }

  @Test func `a module's answer is kept until the flush`() throws {
    let libc = try module(of: "ftw"), program = try #require(Module(at: UInt(bitPattern: #dsohandle)))
    try withCallers { callers in
      for _ in 0..<2 {
        #expect(callers.forwards(libc))
        #expect(!callers.forwards(program))
      }
      let other = try module(of: "dispatch_main")
      #expect(!callers.forwards(other))
      let text = Array("libother+libdispatch".utf8)
      text.withUnsafeBufferPointer {
        callers.skip($0.baseAddress, count: $0.count)
        #expect(!callers.forwards(other), "an answer that was kept")
        callers.flush()
        for _ in 0..<2 { #expect(callers.forwards(other)) }
        callers.skip(nil, count: 0)
        callers.flush()
        #expect(!callers.forwards(other))
      }
    }
  }

  @Test func `modules that share a word of the table do not get each other's answers`() {
    withCallers { callers in
      var generator = Generator(31)
      let yes = strdup("/lib/libc.so.6")!, no = strdup("/lib/libm.so.6")!
      defer {
        free(yes)
        free(no)
      }
      for _ in 0..<Stage.steps(20_000, soak: 1_000_000) {
        let page = UInt(generator.below(2000))
        let start = (0x7f00_0000_0000 + page << 12) as UInt
        let module = Module(linkMap: nil, name: page % 3 == 0 ? yes : no, start: start, end: start + 4096, bias: start, frameHeader: 0)
        #expect(callers.forwards(module) == (page % 3 == 0))
        if generator.below(1000) == 0 { callers.flush() }
      }
    }
  }
}
