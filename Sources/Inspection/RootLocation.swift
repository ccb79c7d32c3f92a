// SPDX-License-Identifier: BSD-2-Clause
//
// Finding the roots of a target: for each module what the dynamic symbol `stave_root` names (libstave.so, and programs that export
// it) and what its notes name (StaveNote.swift); and if no module has either, .symtab in the program's file. A process has several
// roots when libstave.so is its malloc and its program, or a library, has a core of its own.

public struct RootLocation: Equatable, Sendable {
  /// How the root was found.
  public enum Evidence: Sendable { case dynamicSymbol, note, symbolTable }

  public var modulePath: String
  /// Where the module begins in memory.
  public var moduleBase: UInt
  /// Where the root is. That its content is a root has still to be checked: a file that is only mapped for reading can look
  /// like a loaded module.
  public var address: UInt
  public var evidence: Evidence

  public init(modulePath: String, moduleBase: UInt, address: UInt, evidence: Evidence) {
    self.modulePath = modulePath
    self.moduleBase = moduleBase
    self.address = address
    self.evidence = evidence
  }
}

/// The symbol that every copy of Stave defines.
public let rootSymbol = "stave_root"

/// Every root in `target`, in order of module addresses; at least one. Costs a read of the map and some ten small reads
/// per module. Throws `noStave` if there is none, and what concerns the whole target (it ended, no permission).
public func findRoot(in target: any TargetMemory) throws(InspectionError) -> [RootLocation] {
  try findRoot(in: target, symbol: rootSymbol)
}

func findRoot(in target: any TargetMemory, symbol: String) throws(InspectionError) -> [RootLocation] {
  let mappings = try target.mappings()
  let modules = target.modules(among: mappings)
  var found: [RootLocation] = []
  func add(_ module: Module, _ address: UInt, _ evidence: RootLocation.Evidence) {
    guard mappings.mapping(containing: address) != nil, !found.contains(where: { $0.address == address }) else { return }
    found.append(RootLocation(modulePath: module.path, moduleBase: module.base, address: address, evidence: evidence))
  }

  // Linkers let a small program's data begin in the file's first page, which is then mapped a second time, inside the image.
  // It looks like the beginning of another image, but is none.
  var ends: [String: UInt] = [:]
  for module in modules where module.base >= ends[module.path] ?? 0 {
    do throws(InspectionError) {
      let image = try ElfImage(in: target, at: module.base)
      ends[module.path] = image.high
      if let address = try image.address(ofDynamicSymbol: symbol) { add(module, address, .dynamicSymbol) }
      for address in try image.rootsFromNotes() { add(module, address, .note) }
    } catch {
      // One module that cannot be read says nothing about the others.
      if error.concernsWholeTarget { throw error }
    }
  }
  if found.isEmpty, let path = target.executablePath, let module = modules.first(where: { $0.path == path }) {
    do throws(InspectionError) {
      if let file = target.file(of: module), let value = try ElfFile(file).value(ofSymbol: symbol) {
        add(module, try ElfImage(in: target, at: module.base).address(of: value), .symbolTable)
      }
    } catch {
      if error.concernsWholeTarget { throw error }
    }
  }
  if found.isEmpty { throw .noStave(target: target.name) }
  return found
}

extension InspectionError {
  /// After this error nothing else can be read either.
  var concernsWholeTarget: Bool {
    switch self {
    case .noSuchProcess, .permissionDenied, .noMemory: true
    default: false
    }
  }
}
