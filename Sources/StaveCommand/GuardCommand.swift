// SPDX-License-Identifier: BSD-2-Clause
//
// `stave guard`: switches MemGuard, RedZone and item checks on and off in a running process, and shows what they do there.

import ArgumentParser
import Exporters
import Glibc
import Inspection

extension GuardSideName: ExpressibleByArgument {}

struct GuardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "guard", abstract: "Guard the memory of a running process, or stop that.",
    discussion: """
      Each guarded block lies on pages of its own between pages that cannot be touched, and has none once it is freed: an overrun, \
      an underrun or a use after free is reported at the instruction that does it. Blocks that are there already stay as they are, \
      and guarded ones stay guarded when it is switched off. What is not said goes back to its default: all types, all sizes, \
      every request. With --redzone blocks get guard bytes instead, and with --check each malloc and free is checked: they cost \
      less and find mistakes later; what guards pages stays as it is then, unless --on or another option asks for it too. Without \
      anything to change, figures are shown. What is changed and shown is the process's malloc; zones of a program's or library's own with --root. \
      The first report ends the process by SIGABRT; in one that must not stop say `stave set PID onreport=continue` first.
      """)

  @OptionGroup var target: TargetArguments

  @Option(
    help: ArgumentHelp("Guard memory of these malloc types or zones only, as in images+malloc-128; types that come later too.", valueName: "names"))
  var type: String?

  @Option(help: ArgumentHelp("Guard memory that this library asks for only, as libfoo.so.1; counts memory for libraries from then on (types=library), not in a process that counts for call sites.", valueName: "file"))
  var library: String?

  @Option(help: ArgumentHelp("Guard one of n requests, at random; 1: all.", valueName: "n"))
  var oneIn: Int64?

  @Option(help: ArgumentHelp("Guard requests of at least so many bytes.", valueName: "bytes"))
  var min: Int64?

  @Option(help: ArgumentHelp("Guard requests of at most so many bytes.", valueName: "bytes"))
  var max: Int64?

  @Option(help: ArgumentHelp("Where a block lies: overflow (before a guard, at a multiple of 16), underflow (behind one), exact (before one, to the byte).", valueName: "side"))
  var side: GuardSideName?

  @Option(help: ArgumentHelp("Put guard bytes around one block in so many, 1 all, of these types or of this library; 0 around none from now on.", valueName: "n"))
  var redzone: Int64?

  @Option(help: ArgumentHelp("1: check each malloc and free, and fill what is free; 0: no more.", valueName: "0|1"))
  var check: Int64?

  @Flag(help: "Guard every matching request. Use it alone to start with the defaults.")
  var on = false

  @Flag(help: "Guard nothing from now on: neither by pages nor by guard bytes nor by item checks.")
  var off = false

  func validate() throws {
    if let oneIn, !(1...1 << 40 ~= oneIn) { throw ValidationError("--one-in takes a number from 1 on.") }
    if let redzone, redzone < 0 { throw ValidationError("--redzone takes a number from 0 on.") }
    if let check, !(0...1 ~= check) { throw ValidationError("--check takes 0 or 1.") }
    for size in [min, max] { if let size, size < 0 { throw ValidationError("A size is a number of bytes.") } }
    if type != nil && library != nil { throw ValidationError("Give --type or --library, not both.") }
    if (type ?? library) != nil, !isForPages, redzone == 0 || redzone == nil && check != nil {
      throw ValidationError("--type and --library are for guards by pages and for guard bytes: give them with --redzone, or with --on.")
    }
    if off && isSaid { throw ValidationError("--off goes with nothing else.") }
  }

  private var isSaid: Bool { isForPages || type != nil || library != nil || redzone != nil || check != nil }
  /// Said of what only guards by pages know.
  private var isForPages: Bool { on || oneIn != nil || min != nil || max != nil || side != nil }

  func run() throws {
    guard off || isSaid else { return try show() }
    let memory = try target.open()
    guard let live = memory as? LiveProcess else { throw InspectionError.usage("a core file has nothing that can be guarded") }
    let reader = try SnapshotReader(live, root: target.root)
    let snapshot = try reader.look()
    if redzone ?? 0 > 0, !snapshot.zones.contains(where: \.isMalloc) {
      throw InspectionError.usage("only malloc's blocks get guard bytes, and \(reader.name) serves zones alone; say --on for guards by pages, or --check 1")
    }
    let mail = Mail(live, reader.location)
    let counts = try ControlTree(ControlSource(snapshot, largestFree: nil)).find("stave.types").first?.value.text
    // There each place in the library has a type, and none has the library's name.
    if library != nil && counts == "site" {
      throw InspectionError.usage(
        "\(live.name) counts memory for call sites (types:site), not for libraries; say stave set \(live.process) types=library first, which ends the count for sites")
    }
    var same = 0
    // All of them are checked before the first one is asked for.
    let wishes = try assignments(counting: counts == "library").map { text throws(InspectionError) in try ControlTree.assignment(text) }
    try SetCommand.askAll(wishes, mail) { wish, old in
      if old == wish.text { same += 1 } else { emit("\(wish.control.name): \(old) -> \(wish.text)") }
    }
    // A library's type may begin with its next request.
    if type != nil { SetCommand.tellUnknownNames(of: wishes, snapshot, reader) }
    if same == wishes.count { emit(off ? "guards, guard bytes and item checks are off already" : "all of it is so already: nothing has changed") }
  }

  /// In this order: what is to be guarded first, then the switch.
  private func assignments(counting: Bool) -> [String] {
    if off { return ["memguard=0", "redzone=0", "check=0"] }
    var texts: [String] = []
    if library != nil && !counting { texts.append("types=library") }
    let whose = type ?? library
    if let redzone {
      if redzone > 0 { texts.append("redzone_type=\(whose ?? "all")") }
      texts.append("redzone=\(redzone)")
    }
    if let check { texts.append("check=\(check)") }
    guard isForPages || whose != nil && redzone == nil else { return texts }
    texts.append("memguard_type=\(whose ?? "all")")
    texts.append("memguard_min=\(min ?? 0)")
    texts.append("memguard_max=\(max ?? 0)")
    texts.append("memguard_side=\((side ?? .overflow).rawValue)")
    texts.append("memguard=\(oneIn ?? 1)")
    return texts
  }

  private func show() throws {
    let reader = try SnapshotReader(target.open(), root: target.root)
    let tree = ControlTree(ControlSource(try reader.look(), largestFree: nil))
    var found: [Control] = []
    for name in ["vm.memguard", "vm.redzone", "vm.debug"] { found += try tree.find(name) }
    emit(ControlTree.lines(found).joined(separator: "\n"))
  }
}

enum GuardSideName: String, CaseIterable {
  case overflow, underflow, exact
}
