// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of this target share: child processes, a folder that goes away, programs that may or may not be installed.

import Glibc

@testable import Inspection

/// A child process without input or output; killed and reaped at the end of its life.
final class Child {
  let process: Int32

  init?(_ path: String, _ arguments: [String] = []) {
    var argv = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for text in argv { free(text) } }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in Int32(0)...2 { posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0) }
    var process: pid_t = 0
    guard posix_spawn(&process, path, &actions, nil, &argv, environ) == 0 else { return nil }
    self.process = process
  }

  /// A child that sleeps, past its start: everything that it maps is mapped.
  static func sleeping() -> Child? {
    guard let child = Child("/bin/sleep", ["1000"]) else { return nil }
    for _ in 0..<1000 {
      // The name and state change with the exec, and with the system call that it then waits in.
      if let entry = try? ProcessEntry(process: child.process), entry.name == "sleep", entry.state == "S" { break }
      usleep(1000)
    }
    return child
  }

  func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    return status
  }

  deinit {
    kill(process, SIGKILL)
    kill(process, SIGCONT)
    _ = wait()
  }
}

/// A folder of its own for each test, removed with everything in it.
final class Folder {
  let path: String

  init() {
    var template = Array("/tmp/stave-inspection-XXXXXX".utf8CString)
    path = mkdtemp(&template).map { String(cString: $0) } ?? "/tmp"
  }

  func write(_ bytes: [UInt8], _ name: String = "file") -> String {
    let file = path + "/" + name
    let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    defer { close(descriptor) }
    var done = 0
    bytes.withUnsafeBytes { space in
      while done < space.count {
        let count = Glibc.write(descriptor, space.baseAddress! + done, space.count - done)
        if count <= 0 { break }
        done += count
      }
    }
    return file
  }

  deinit {
    guard path != "/tmp", let directory = opendir(path) else { return }
    while let item = readdir(directory) {
      let name = withUnsafePointer(to: &item.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { unlink(path + "/" + name) }
    }
    closedir(directory)
    rmdir(path)
  }
}

/// Path of an installed program.
func tool(_ names: String...) -> String? {
  let folders = (getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin").split(separator: ":")
  for name in names {
    for folder in folders where access("\(folder)/\(name)", X_OK) == 0 { return "\(folder)/\(name)" }
  }
  return nil
}

/// Runs a program to its end; true if its status was 0.
func run(_ path: String, _ arguments: [String]) -> Bool {
  Child(path, arguments).map { $0.wait() == 0 } ?? false
}

func skipLoudly(_ what: String) {
  let line = "SKIPPED: \(what)\n"
  _ = Glibc.write(2, line, line.utf8.count)
}

/// The error that `body` throws, nil if it throws none.
func errorOf(_ body: () throws(InspectionError) -> Void) -> InspectionError? {
  do throws(InspectionError) {
    try body()
    return nil
  } catch { return error }
}

/// Does with a target all that a command would do, and ignores what it says: for targets that are garbage.
func exercise(_ target: any TargetMemory) {
  _ = target.executablePath
  _ = target.name
  _ = try? findRoot(in: target)
  _ = try? findRoot(in: target, symbol: "malloc")
  for mapping in ((try? target.mappings()) ?? []).prefix(2000) {
    _ = try? target.read(UInt64.self, at: mapping.start)
    _ = try? target.read(UInt64.self, at: mapping.end &- 8)
    _ = try? target.read(InlineArray<4, UInt64>.self, at: mapping.end &- 16)
    _ = try? target.readString(at: mapping.start)
  }
  _ = try? target.read(UInt64.self, at: [0, 1, UInt.max, UInt.max - 7, 1 << 63])
}
