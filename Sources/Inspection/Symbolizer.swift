// SPDX-License-Identifier: BSD-2-Clause
//
// The name of the function at a place of a program or library. Its file may be stripped, replaced by another since, or seen only by
// the process: looked at are the file of that path, then that path as the process sees it, its program, and the file with the symbols
// that is kept apart for the build id (DIR/.build-id/ab/cdef….debug), or that the file names (DebugLink). What has another build id is
// not believed.

public final class Symbolizer {
  private let debugFolders: [String]
  private struct Key: Hashable {
    var path: String
    var buildID: String?
    var process: Int32?
  }
  private var known: [Key: FunctionNames?] = [:]

  /// `debugFolders`: where files with symbols lie.
  public init(debugFolders: [String] = ["/usr/lib/debug"]) { self.debugFolders = debugFolders }

  /// Nil if nothing has a name there. `place` is in terms of the file's own headers. `buildID`: in hexadecimal digits, if it is known.
  /// `process`: the one that has it, which may be gone. Costs what reading the symbols does, once for each file.
  public func function(at place: UInt64, in path: String, buildID: String? = nil, process: Int32? = nil) -> (name: String, offset: UInt64)? {
    names(of: Key(path: path, buildID: buildID, process: process))?.function(at: place)
  }

  private func names(of key: Key) -> FunctionNames? {
    if let names = known[key] { return names }
    let names = find(key)
    known[key] = .some(names)
    return names
  }

  private func find(_ key: Key) -> FunctionNames? {
    var paths = [key.path]
    if let process = key.process { paths += ["/proc/\(process)/root\(key.path)", "/proc/\(process)/exe"] }
    var buildID = key.buildID
    var exported: FunctionNames?
    var links: [(link: DebugLink, folder: String)] = []
    for path in paths {
      guard let bytes = try? FileBytes(path: path), let file = try? ElfFile(bytes) else { continue }
      let its = file.buildID()?.hexadecimalDigits
      // Without build ids to compare, another file than that of the path is no better than none: the program may not be meant.
      guard path == key.path ? buildID == nil || its == nil || its == buildID : its != nil && its == buildID else { continue }
      buildID = buildID ?? its
      if let link = DebugLink(file) { links.append((link, Self.folder(of: path.hasSuffix("/exe") ? key.path : path))) }
      guard let names = try? FunctionNames(file), !names.isEmpty else { continue }
      if (try? file.sections().contains { $0.type == Elf.symbolTable }) == true { return names }
      exported = exported ?? names
    }
    if let names = buildID.flatMap(separate) { return names }
    for (link, seen) in links {
      for path in link.paths(folder: Self.folder(of: key.path), seen: seen, debugFolders: debugFolders) {
        guard let bytes = try? FileBytes(path: path), let file = try? ElfFile(bytes), link.isMeant(bytes), let names = try? FunctionNames(file), !names.isEmpty
        else { continue }
        return names
      }
    }
    return exported
  }

  /// Without the last part of the path.
  private static func folder(of path: String) -> String { String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) }

  private func separate(_ buildID: String) -> FunctionNames? {
    guard buildID.count > 2, buildID.allSatisfy({ $0.isHexDigit }) else { return nil }
    for folder in debugFolders {
      let path = "\(folder)/.build-id/\(buildID.prefix(2))/\(buildID.dropFirst(2)).debug"
      guard let bytes = try? FileBytes(path: path), let file = try? ElfFile(bytes), file.buildID()?.hexadecimalDigits ?? buildID == buildID,
        let names = try? FunctionNames(file), !names.isEmpty
      else { continue }
      return names
    }
    return nil
  }
}
