// SPDX-License-Identifier: BSD-2-Clause
//
// Whole files of /proc: Foundation ends at the first read that is short, and the kernel's reads of lists are.

import Foundation
import Glibc

/// All of it, however many reads that takes; empty if it cannot be opened.
func kernelText(_ path: String) -> String {
  guard let file = fopen(path, "re") else { return "" }
  defer { fclose(file) }
  var bytes: [UInt8] = [], piece = [UInt8](repeating: 0, count: 1 << 16)
  while case let count = fread(&piece, 1, piece.count, file), count > 0 { bytes += piece[..<count] }
  return String(decoding: bytes, as: UTF8.self)
}
