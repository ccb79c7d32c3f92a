// SPDX-License-Identifier: BSD-2-Clause
//
// All copies of Stave in a process: libstave.so, which is its malloc, and the cores that its program and its libraries have for zones of
// their own. Each has one root, and each address one root at most. Malloc's comes first; those that have not started are left out, but
// for one where none has.

import Glibc
import Heap
import Pages

public struct ProcessReader {
  public let target: any TargetMemory
  /// At least one.
  public let readers: [SnapshotReader]

  /// Finds the roots. With a name, only that of this name: the file of the program or library that it lies in, or its path; of
  /// a library the version may be there or not. Costs what
  /// `findRoot` does. Throws what that throws, and `usage` where nothing has that name.
  public init(_ target: any TargetMemory, root wanted: String? = nil) throws(InspectionError) {
    self.target = target
    let all: [SnapshotReader]
    do throws(InspectionError) {
      all = Self.named(try findRoot(in: target).map { SnapshotReader(target, $0) })
    } catch {
      // A process that has just ended has no memory left to find anything in.
      if case .noStave = error, let live = target as? LiveProcess, !live.isAlive { throw .noSuchProcess(live.process) }
      // What would name the root may be in the part that is missing.
      if case .noStave = error, let core = target as? CoreFile, core.isTruncated { throw .truncatedCore(path: core.path, address: nil) }
      throw error
    }
    if let wanted {
      let exact = all.filter { $0.name == wanted || $0.location.modulePath == wanted }
      let found = exact.isEmpty ? all.filter { $0.name.isLibrary(wanted) } : exact
      guard !found.isEmpty else { throw .usage("there is no copy of Stave in \(wanted); they are in \(all.map(\.name).joined(separator: ", "))") }
      readers = found
    } else {
      let started = all.filter(\.hasStarted)
      // A program's own malloc comes before any library's, and anybody's malloc before cores of their own.
      func rank(_ reader: SnapshotReader) -> Int { (reader.servesMalloc ? 0 : 2) + (reader.location.modulePath == target.executablePath ? 0 : 1) }
      readers = (started.isEmpty ? Array(all.prefix(1)) : started).enumerated().sorted { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }.map(\.element)
    }
  }

  /// One look at all of them, a few tries each as `SnapshotReader.look`. What cannot be read of another than the first is left out, and
  /// said in the snapshot.
  public func look() throws(InspectionError) -> Snapshot {
    var all = [try readers[0].look()], left: [String] = []
    for reader in readers.dropFirst() {
      do throws(InspectionError) { all.append(try reader.look()) } catch {
        if error.concernsWholeTarget { throw error }
        left.append("\(reader.name) is left out: \(error.message)")
      }
    }
    var whole = Snapshot.combined(all)
    whole.leftOut = left
    return whole
  }

  /// Names as the files have them, numbered where several are the same.
  private static func named(_ readers: [SnapshotReader]) -> [SnapshotReader] {
    var counts: [String: Int] = [:]
    return readers.map { reader in
      var reader = reader
      let count = counts[reader.name, default: 0]
      counts[reader.name] = count + 1
      if count > 0 { reader.name += "_\(count)" }
      return reader
    }
  }
}

extension String {
  /// Whether both name one library, of which either may have a version behind, as "libstavezones.so.0": links often are named so, and
  /// files without.
  fileprivate func isLibrary(_ other: String) -> Bool {
    func stem(_ name: String) -> Substring? { name.hasSuffix(".so") ? name[...] : name.firstRange(of: ".so.").map { name[..<$0.upperBound].dropLast() } }
    func isPlain(_ name: String) -> Bool { stem(name)?.count == name.count }
    return stem(self) != nil && stem(self) == stem(other) && (isPlain(self) || isPlain(other))
  }
}

extension RootLocation {
  static func fileName(_ path: String) -> String { path.split(separator: "/").last.map { String($0).printable } ?? "program" }
}

extension SnapshotReader {
  fileprivate var hasStarted: Bool { (try? target.read(UInt64.self, at: location.address)) == RootLayout.magic }
  /// Of a root that cannot be read it is believed.
  fileprivate var servesMalloc: Bool {
    let copies = Copies(target)
    defer { copies.discard() }
    return (try? readRoot(copies))?.servesMalloc ?? true
  }
}

extension RootCopy {
  /// Neither a core for zones of its owner's own, nor a library that was loaded beside the process's malloc.
  var servesMalloc: Bool {
    part(RootHeader.self, 0).pointee.isOwn == 0 && part(HeapState.self, RootLayout.heapOffset).pointee.freeElsewhere == nil
  }
}
