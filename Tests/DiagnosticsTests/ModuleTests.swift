// SPDX-License-Identifier: BSD-2-Clause
//
// Which module an address is in, compared with dladdr and with /proc/self/maps.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import TestSupport

@Suite(.enabled(if: Module.isAvailable)) struct ModuleTests {
  /// Mapped ranges that can be read.
  private func readable() throws -> [AddressRange] {
    String(decoding: try output(of: "/bin/cat", ["/proc/\(getpid())/maps"]), as: UTF8.self).split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      let ends = words[0].split(separator: "-").map { UInt($0, radix: 16)! }
      return words[1].first == "r" ? AddressRange(start: ends[0], end: ends[1]) : nil
    }
  }

  private static let symbols = ["ftw", "__tls_get_addr", "swift_retain", "dispatch_main", "_ZNSt9exceptionD1Ev", "main"]

  /// Nil: nothing has it here.
  private static func place(_ symbol: String) -> UnsafeRawPointer? {
    symbol == "main" ? #dsohandle : dlsym(nil, symbol).map { UnsafeRawPointer($0) }
  }

  private typealias Dladdr = @convention(c) (UnsafeRawPointer, UnsafeMutableRawPointer) -> Int32

  @Test func `an address is in the module that dladdr names`() throws {
    let dladdr = unsafeBitCast(try #require(dlsym(nil, "dladdr")), to: Dladdr.self)
    for symbol in Self.symbols {
      guard let place = Self.place(symbol) else { continue }
      // Path, base, name and address of the symbol.
      var info: (UnsafePointer<CChar>?, UInt, UnsafePointer<CChar>?, UInt) = (nil, 0, nil, 0)
      #expect(dladdr(place, &info) != 0)
      let module = try #require(Module(at: UInt(bitPattern: place)))
      #expect(module.start <= UInt(bitPattern: place) && module.end > UInt(bitPattern: place))
      let path = String(cString: try #require(module.name))
      #expect(path == (symbol == "main" ? "" : String(cString: info.0!)))
      #expect(module.bias == info.1)
    }
  }

  @Test func `what was not loaded from a file is in none`() {
    var local = 0
    withUnsafePointer(to: &local) { #expect(Module(at: UInt(bitPattern: $0)) == nil) }
    let block = malloc(100)
    #expect(Module(at: UInt(bitPattern: block)) == nil)
    free(block)
    for address: UInt in [0, 1, 1 << 46, .max] { #expect(Module(at: address) == nil) }
  }

  @Test func `call frame information is sought in its own segment, all of which can be read`() throws {
    let mapped = try readable()
    for symbol in Self.symbols {
      guard let place = Self.place(symbol) else { continue }
      let module = try #require(Module(at: UInt(bitPattern: place)))
      let segment = try #require(module.frameSegment)
      #expect(segment.holds(module.frameHeader, 12))
      // Parts of one segment may have different rights, so may be several lines.
      var address = segment.start
      while let line = mapped.first(where: { $0.start <= address && address < $0.end }) { address = line.end }
      #expect(address >= segment.end, "\(symbol)")
      // It need not be the segment of the code.
      let part = Module(
        linkMap: module.linkMap, name: module.name, start: segment.end + 64, end: module.end, bias: module.bias, frameHeader: module.frameHeader)
      #expect(part.frameSegment?.start == segment.start && part.frameSegment?.end == segment.end)
      let other = Module(linkMap: nil, name: nil, start: segment.end + 64, end: module.end, bias: module.bias, frameHeader: module.frameHeader)
      #expect(other.frameSegment == nil, "of another module")
    }
  }
}

