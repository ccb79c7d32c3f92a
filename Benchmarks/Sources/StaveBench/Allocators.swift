// SPDX-License-Identifier: BSD-2-Clause
//
// Which allocators there are: Stave's library, libc's own, and the peers that the loader or .peers/ knows of.

import Foundation

struct Allocator {
  var name: String
  var library: String?  // nothing is preloaded for libc's own
  var version: String
  /// Stave's options (STAVE_OPTIONS), if any.
  var settings = ""

  var record: AllocatorRecord {
    AllocatorRecord(name: name, version: version, file: library.map { ($0 as NSString).lastPathComponent } ?? "")
  }
}

/// Peers by the name that the loader knows them by.
private let knownPeers = [
  ("jemalloc", "libjemalloc.so.2"), ("gperftools", "libtcmalloc_minimal.so.4"), ("mimalloc2", "libmimalloc.so.2"),
  ("mimalloc2", "libmimalloc.so.2.0"), ("mimalloc3", "libmimalloc.so.3"), ("snmalloc", "libsnmallocshim.so"),
]

enum Allocators {
  /// Those in `names`, or all. An element `name=path` adds a library of the user's, such as another build of Stave.
  static func find(names: [String], stave: String, folder: URL) throws -> [Allocator] {
    var found: [Allocator] = []
    if FileManager.default.isReadableFile(atPath: stave) {
      found.append(Allocator(name: "stave", library: stave, version: modified(stave)))
    } else {
      say("no \(stave): measuring the peers alone")
    }
    found.append(Allocator(name: "glibc", library: nil, version: libcVersion()))
    found += installedPeers()
    for peer in unpackedPeers(folder) where !found.contains(where: { $0.name == peer.name }) { found.append(peer) }
    guard !names.isEmpty else { return found }
    return try names.map { name in
      if name.hasPrefix("stave+") {
        guard var mode = found.first(where: { $0.name == "stave" }) else { throw Complaint("no \(stave)") }
        mode.name = name
        mode.settings = name.dropFirst("stave+".count).replacingOccurrences(of: "+", with: ",")
        return mode
      }
      let parts = name.split(separator: "=", maxSplits: 1).map(String.init)
      if parts.count == 2 {
        guard FileManager.default.isReadableFile(atPath: parts[1]) else { throw Complaint("no library \(parts[1])") }
        return Allocator(name: parts[0], library: parts[1], version: modified(parts[1]))
      }
      guard let one = found.first(where: { $0.name == name }) else {
        throw Complaint("no allocator \(name); there are \(found.map(\.name).joined(separator: ", "))")
      }
      return one
    }
  }

  /// The path of a shared library by its name, from the loader's cache.
  static func loaderPath(_ library: String) -> String? {
    let tool = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].first { FileManager.default.isExecutableFile(atPath: $0) }
    guard let tool, let cache = output(of: [tool, "-p"]) else { return nil }
    let line = cache.split(separator: "\n").first { $0.split(separator: " ").first.map { $0.trimming("\t") == library } ?? false }
    return line?.range(of: "=> ").map { String(line![$0.upperBound...]) }
  }

  private static func installedPeers() -> [Allocator] {
    var peers: [Allocator] = []
    for (name, library) in knownPeers where !peers.contains(where: { $0.name == name }) {
      guard let path = loaderPath(library) else { continue }
      peers.append(Allocator(name: name, library: path, version: packageVersion(path) ?? library))
    }
    return peers
  }

  private static func unpackedPeers(_ folder: URL) -> [Allocator] {
    let root = folder.appendingPathComponent(".peers")
    let wheels = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
    return wheels.sorted().compactMap { wheel in
      // A wheel's folder is called package-version-build.
      let version = wheel.split(separator: "-").dropFirst().first.map(String.init) ?? wheel
      let library = root.appendingPathComponent("\(wheel)/cmeel.prefix/lib/libmimalloc.so").path
      guard FileManager.default.isReadableFile(atPath: library) else { return nil }
      return Allocator(name: "mimalloc\(version.prefix(1))", library: library, version: version)
    }
  }

  private static func packageVersion(_ path: String) -> String? {
    let real = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
    for candidate in [path, real, real.replacingOccurrences(of: "/usr/lib/", with: "/lib/"), "/usr" + real] {
      guard let owner = output(of: ["dpkg-query", "-S", candidate])?.split(separator: ":").first else { continue }
      return output(of: ["dpkg-query", "-W", "-f=${Version}", String(owner)])
    }
    return nil
  }

  private static func libcVersion() -> String {
    var text = [UInt8](repeating: 0, count: 64)
    let length = text.withUnsafeMutableBytes { confstr(Int32(_CS_GNU_LIBC_VERSION), $0.baseAddress, $0.count) }
    return String(decoding: text.prefix(max(0, Int(length) - 1)), as: UTF8.self).replacingOccurrences(of: "glibc ", with: "")
  }

  static func modified(_ path: String) -> String {
    let date = (try? FileManager.default.attributesOfItem(atPath: path))?[.modificationDate] as? Date
    return date.map { "of \(day($0))" } ?? "?"
  }
}

extension Substring {
  func trimming(_ characters: String) -> String { trimmingCharacters(in: CharacterSet(charactersIn: characters)) }
}
