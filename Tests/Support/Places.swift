// SPDX-License-Identifier: BSD-2-Clause
//
// Where things are: the project's folder, what `make` built, installed programs, folders that go away.

import Foundation

enum Place {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  static let builtLibrary = root.appending(path: "build/libstave.so").path
}

/// Of this machine, without what would set options of Stave (STAVE_… variables of the tests included).
let plainEnvironment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("STAVE_") && $0.key != "LD_PRELOAD" }

/// The first installed program of these names.
func find(_ names: String..., alsoIn folders: [String] = []) -> String? {
  let path = (plainEnvironment["PATH"] ?? "/usr/bin:/bin").split(separator: ":").map(String.init) + folders
  for name in names {
    for folder in path where access("\(folder)/\(name)", X_OK) == 0 { return "\(folder)/\(name)" }
  }
  return nil
}

func announceSkip(_ reason: String) { print("SKIPPED: \(reason)") }

/// A new folder, removed with everything in it when nobody has it any more.
final class Folder {
  let path: String

  init() {
    var template = Array((FileManager.default.temporaryDirectory.path + "/stave-test-XXXXXX").utf8CString)
    path = mkdtemp(&template).map { String(cString: $0) } ?? { fatalError("no folder for scratch files: \(String(cString: strerror(errno)))") }()
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { path + "/" + name }

  /// The path of a new file with these bytes.
  func write(_ bytes: [UInt8], _ name: String = "file") -> String {
    FileManager.default.createFile(atPath: file(name), contents: Data(bytes))
    return file(name)
  }

  func write(_ text: String, _ name: String = "file") -> String { write(Array(text.utf8), name) }
}
