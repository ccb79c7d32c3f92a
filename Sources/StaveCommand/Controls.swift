// SPDX-License-Identifier: BSD-2-Clause
//
// `stave get` and `stave set`: the control tree, as sysctl(8) has it for the kernel.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct GetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get", abstract: "Show controls: figures and options of a process by name.",
    discussion: "Without a name all are shown; a name shows the control, or all controls below it.")

  @OptionGroup var target: TargetArguments

  @Argument(help: "A control, or what its name begins with, up to a dot.", completion: .custom { _, _, _ in GlobalControl.all.map(\.name) })
  var control: [String] = []

  @Flag(help: "Types, access and meanings instead of values.")
  var describe = false

  @Flag(help: "JSON: an object of names and values.")
  var json = false

  func validate() throws { if describe && json { throw ValidationError("--describe and --json do not go together.") } }

  func run() throws {
    let (target, names) = target.splitting(control)
    let process = try ProcessReader(target.open(), root: target.root), reader = process.readers[0]
    // In a busy process the arena's map may change faster than it can be read; then that one figure is left out.
    let tree = ControlTree(ControlSource(try process.look(), largestFree: try? reader.largestFreeRange()))
    var found = names.isEmpty ? tree.controls : []
    for name in names { found += try tree.find(name) }
    if json {
      emit(ControlTree.json(found).description)
    } else {
      emit((describe ? ControlTree.descriptions(found) : ControlTree.lines(found)).joined(separator: "\n"))
    }
  }
}

struct SetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Change options of a running process, and limits of its malloc types.",
    discussion: """
      The request goes into a mailbox in the process, which checks it and takes it over itself; whoever may trace the process may \
      ask. The command waits a second and a half for the answer; after that it prints "pending". A process answers with \
      the next block that it frees, or by its background thread. Options are those \
      of the process's malloc; those of a program's or library's own zones are changed with --root, and it answers with the next request \
      or free that their caches do not serve.
      """)

  @OptionGroup var target: TargetArguments

  @Argument(
    help: ArgumentHelp("A control and its new value; of options of the library the name alone will do. A type's limit: type.NAME.limit=BYTES.", valueName: "name=value"),
    completion: .custom { _, _, _ in GlobalControl.all.filter { $0.option?.isChangeable ?? false }.map { $0.name + "=" } })
  var assignment: [String] = []

  func run() throws {
    let (target, texts) = target.splitting(assignment)
    // All of them are checked before the first one is asked for.
    let wishes = try texts.filter { !TypeControl.isMeant(by: $0) }.map { text throws(InspectionError) in try ControlTree.assignment(text) }
    let memory = try target.open()
    if texts.isEmpty { throw InspectionError.usage("say what to change: stave set PID NAME=VALUE") }
    guard let live = memory as? LiveProcess else { throw InspectionError.usage("a core file has nothing that can be set") }
    let process = try ProcessReader(live, root: target.root)
    let snapshot = try process.look()  // its structures are ones that this command knows
    let limits = try texts.filter(TypeControl.isMeant).map { text throws(InspectionError) in try TypeControl.assignment(text, in: snapshot) }
    for (type, name, bytes) in limits {
      let reader = process.readers.first { $0.name == type.root } ?? process.readers[0]
      let mail = Mail(live, reader.location)
      switch try mail.setLimit(of: type, to: bytes, waiting: 1.5) {
      case .done(let before): emit("\(name): \(before) -> \(bytes)")
      case .pending: emit("\(name): \(Self.pending(bytes.description, mail))")
      }
    }
    try Self.askAll(wishes, Mail(live, process.readers[0].location)) { emit("\($0.control.name): \($1) -> \($0.text)") }
    Self.tellUnknownNames(of: wishes, snapshot, process.readers[0])
  }

  /// A misspelt name guards nothing, and neither does the right one until there is what it names.
  static func tellUnknownNames(of wishes: [Assignment], _ snapshot: Snapshot, _ reader: SnapshotReader) {
    var told: Set<String> = []
    for wish in wishes {
      for name in wish.unknownNames(in: snapshot) where told.insert(name).inserted {
        printError("stave: there is no \(wish.named) \(name.printable) in \(reader.name) yet: its memory is guarded when it comes.")
      }
    }
  }

  /// One after another, and no more where one stays pending. `done` has the wish and the value before.
  static func askAll(_ wishes: [Assignment], _ mail: Mail, done: (Assignment, String) -> Void) throws {
    for (index, wish) in wishes.enumerated() {
      switch try ask(wish, mail) {
      case .done(let before): done(wish, ControlTree.text(wish.option, before))
      case .pending:
        emit("\(wish.control.name): \(pending(wish.text, mail))")
        let rest = wishes[(index + 1)...].map(\.control.name).joined(separator: ", ")
        if !rest.isEmpty { throw InspectionError.refused("it was not asked for the rest (\(rest)): ask again when it has taken that") }
      }
    }
  }

  private static func pending(_ text: String, _ mail: Mail) -> String { "pending: the process will take \(text) \(mail.occasion)" }

  static func ask(_ wish: Assignment, _ mail: Mail) throws -> Mail.Answer {
    if wish.names.isEmpty { return try mail.set(wish.option, to: wish.value, waiting: 1.5) }
    return try mail.set(wish.option, to: wish.names, waiting: 1.5)
  }
}

extension TargetArguments {
  /// With --name, what stands where a PID would is the first of the others.
  func splitting(_ others: [String]) -> (target: TargetArguments, others: [String]) {
    guard name != nil, let first = target else { return (self, others) }
    var result = self
    result.target = nil
    return (result, [first] + others)
  }
}
