// SPDX-License-Identifier: BSD-2-Clause
//
// Where memory of this process lies in the machine: /proc/self/pagemap. Frame numbers are shown to those with CAP_SYS_ADMIN; whether a
// range is one huge page, to all (Linux 6.7). A look opens a file and closes it.

import CPlatform
import Primitives

struct FrameNumbers {
  private let file: Int32

  init() {
    let path: StaticString = "/proc/self/pagemap"
    file = path.withUTF8Buffer { bytes in
      bytes.baseAddress!.withMemoryRebound(to: CChar.self, capacity: bytes.count + 1) {
        Int32(truncatingIfNeeded: stave_open($0, 0o2000000 /* O_CLOEXEC */))
      }
    }
  }

  func close() { if file >= 0 { _ = stave_close(file) } }

  /// Whether frame numbers are shown. No frame of a process has the number 0, which stands for a hidden one.
  var areShown: Bool {
    // The root is in memory: it is being used.
    frame(at: UInt(bitPattern: stave_root_storage())) != nil
  }

  /// The frame of the page at an address; nil if it is hidden or there is no page.
  func frame(at address: UInt) -> UInt64? {
    var entry: UInt64 = 0
    return read(address, count: 1, into: &entry) ? Self.number(entry) : nil
  }

  /// The entries of `count` pages.
  func read(_ address: UInt, count: Int, into entries: UnsafeMutablePointer<UInt64>) -> Bool {
    guard file >= 0 else { return false }
    let offset = Int(address / UInt(stave_page_bytes())) * 8
    return stave_syscall6(Int(SYS_pread64), Int(file), Int(bitPattern: UnsafeRawPointer(entries)), count * 8, offset, 0, 0) == count * 8
  }

  /// Of a page that is there, if it is shown.
  static func number(_ entry: UInt64) -> UInt64? {
    let number = entry & (1 << 55 - 1)
    return entry >> 63 == 1 && number != 0 ? number : nil
  }

  /// Whether the range is in memory by huge pages alone, as the kernel tells everybody: PAGEMAP_SCAN.
  func isHuge(_ start: UInt, bytes: UInt) -> Bool {
    guard file >= 0 else { return false }
    var region = InlineArray<3, UInt64>(repeating: 0)
    return withUnsafeMutablePointer(to: &region) { found in
      let present: UInt64 = 1 << 3, huge: UInt64 = 1 << 6
      // size, flags, start, end, where the walk ended, results and how many, most pages, inverted, wanted, any of, told
      var arguments: InlineArray<12, UInt64> = [
        96, 0, UInt64(start), UInt64(start + bytes), 0, UInt64(UInt(bitPattern: found)), 1, 0, 0, present | huge, 0, huge,
      ]
      let count = withUnsafeMutablePointer(to: &arguments) {
        stave_syscall6(Int(SYS_ioctl), Int(file), 0xc060_6610, Int(bitPattern: $0), 0, 0, 0)
      }
      return count == 1 && found.pointee[0] == UInt64(start) && found.pointee[1] == UInt64(start + bytes)
    }
  }
}
