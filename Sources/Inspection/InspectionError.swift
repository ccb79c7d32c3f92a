// SPDX-License-Identifier: BSD-2-Clause
//
// Everything that can go wrong while looking into a process or a core file, as one closed list. Each case knows the text
// for the person at the terminal (what happened, then what to do next) and the exit status of the command. Names that
// come from the target are made printable here, so that a hostile process cannot send escape sequences to the terminal.

import Glibc

public enum InspectionError: Error, Equatable, Sendable {
  /// No process has this number, or it ended while it was being read.
  case noSuchProcess(Int32)
  case noProcessNamed(String)
  case ambiguousName(String, candidates: [ProcessCandidate])
  /// A zombie or a kernel thread: it has no memory to look at.
  case noMemory(Int32)
  /// `yamaScope` is the content of /proc/sys/kernel/yama/ptrace_scope, nil where Yama is not in the kernel.
  case permissionDenied(process: Int32, yamaScope: Int?)
  case cannotOpen(path: String, errno: Int32)
  case cannotRead(path: String, errno: Int32)
  case notACore(path: String, reason: String)
  /// The file ends before something that it promises; `address` is nil when that is its own tables.
  case truncatedCore(path: String, address: UInt?)
  /// The core is whole, but this memory was not written to it.
  case notInCore(path: String, address: UInt)
  case noStave(target: String)
  case versionMismatch(found: UInt32, expected: UInt32)
  case layoutMismatch(found: UInt32, expected: UInt32)
  case shortRead(address: UInt, wanted: Int, got: Int)
  case cannotWrite(address: UInt, errno: Int32)
  /// What lies at a module's place is not an ELF image that can be used.
  case badImage(address: UInt, reason: String)
  /// A structure in the target contradicts itself: a list without end, a count beyond reason.
  case damaged(String)
  /// The process does not do what it was asked for.
  case refused(String)
  /// Sizes were never counted there; `process` is 0 for a core file.
  case noSizes(target: String, process: Int32)
  /// Nothing there has started packet buffers.
  case noPackets(target: String)
  /// A saved stream of statistics is of a version that this reader does not know; or is none.
  case unknownStream(path: String, version: UInt32)
  case badStream(path: String, reason: String)
  /// The caller's own words make no sense: the only cases with exit status 2 are this one and `ambiguousName`.
  case usage(String)
}

extension InspectionError {
  /// 1: not found, no Stave in it, or not readable. 2: the command was used wrongly.
  public var exitStatus: Int32 {
    switch self {
    case .usage, .ambiguousName: 2
    default: 1
    }
  }

  /// What happened and what to do next; one line, except for the list of candidates. Without a newline at the end.
  public var message: String {
    switch self {
    case .noSuchProcess(let process):
      "no process \(process): it has ended, or runs in another PID namespace. `ps -e` lists what can be seen from here."
    case .noProcessNamed(let name):
      "no process is named \(name.printable): a name is the command's (ps -o comm) or the last part of its first argument."
    case .ambiguousName(let name, let candidates):
      Self.list(name, candidates)
    case .noMemory(let process):
      "process \(process) has no memory to look at: it is a zombie or a kernel thread."
    case .permissionDenied(let process, let scope):
      Self.denied(process, scope)
    case .cannotOpen(let path, let code):
      "cannot open \(path.printable): \(String(cString: strerror(code)))."
    case .cannotRead(let path, let code):
      "cannot read \(path.printable): \(String(cString: strerror(code)))."
    case .notACore(let path, let reason):
      "\(path.printable) is not a core file that can be read: \(reason)."
    case .truncatedCore(let path, let address):
      "\(path.printable) is truncated: "
        + (address.map { "the memory at \($0.hexadecimal) is missing." } ?? "its tables are incomplete.")
        + " Write it again with room on the disk and `ulimit -c unlimited`."
    case .notInCore(let path, let address):
      "\(path.printable) does not hold the memory at \(address.hexadecimal), and no matching file supplies it."
        + " Set coredump_filter (core(5)) to include private memory, and keep the program's files beside the core."
    case .noStave(let target):
      "no Stave in \(target.printable): start the program with `stave run -- program`, or with LD_PRELOAD=/usr/local/lib/libstave.so.0."
    case .versionMismatch(let found, let expected):
      "version mismatch: the process has Stave's structures in version \(found), this command reads version \(expected)."
        + " Use the `stave` that came with its libstave.so."
    case .layoutMismatch(let found, let expected):
      "version mismatch: the process's structures have layout \(UInt(found).hexadecimal), this command reads"
        + " \(UInt(expected).hexadecimal). Use the `stave` that came with its libstave.so."
    case .shortRead(let address, let wanted, let got):
      "could read only \(got) of \(wanted) bytes at \(address.hexadecimal): the memory is not there, or went away meanwhile."
        + " Try again; for a quiet picture stop the process first (kill -STOP)."
    case .cannotWrite(let address, let code):
      "cannot write at \(address.hexadecimal) of the process: \(String(cString: strerror(code)))."
    case .badImage(let address, let reason):
      "the module at \(address.hexadecimal) cannot be read: \(reason.printable)."
    case .damaged(let what):
      "the process's structures are damaged, or changed while they were read: \(what.printable). Try again; if it stays,"
        + " the program has overwritten them."
    case .refused(let reason):
      "the process does not do it: \(reason.printable)."
    case .noSizes(let target, let process):
      "\(target.printable) has not counted the sizes that are asked for. "
        + (process > 0 ? "`stave set \(process) sizes=1` switches it on" : "The program has to be started with STAVE_OPTIONS=sizes:1")
        + (process > 0 ? ", from the start STAVE_OPTIONS=sizes:1." : ", or told so while it works: stave set PID sizes=1.")
    case .noPackets(let target): "\(target.printable) has no packet buffers: neither its program nor a library of it has started any."
    case .unknownStream(let path, let version):
      "version mismatch: \(path.printable) is a stream of version \(version), this command reads version \(StreamHeader.version)."
    case .badStream(let path, let reason):
      "\(path.printable) is no stream that can be read: \(reason.printable)."
    case .usage(let text):
      text.printable
    }
  }

  private static func list(_ name: String, _ candidates: [ProcessCandidate]) -> String {
    var text = "\(candidates.count) processes are named \(name.printable); give the PID of one:"
    for candidate in candidates.prefix(20) {
      text += "\n  \(candidate.process)  \(String(candidate.command.printable.prefix(100)))"
    }
    return candidates.count > 20 ? text + "\n  and \(candidates.count - 20) more" : text
  }

  /// What helps depends on who forbids it, so the sentence about Yama is made from the value in force.
  private static func denied(_ process: Int32, _ scope: Int?) -> String {
    let advice =
      switch scope {
      case nil:
        "It belongs to another user or is protected (setuid, not dumpable): use sudo. (Were Yama's ptrace_scope 1 in force,"
          + " `stave run` or STAVE_OPTIONS=inspect:any would help; with 0 or without Yama only the same user or sudo does.)"
      case 0:
        "Yama's ptrace_scope is 0, so it belongs to another user or is protected (setuid, not dumpable): use sudo."
          + " (With ptrace_scope 1, STAVE_OPTIONS=inspect:any would be needed as well.)"
      case 1:
        "Yama's ptrace_scope is 1, which lets only ancestors look (0 lets the same user): start the program with `stave run`"
          + " and watch it from there, or start it with STAVE_OPTIONS=inspect:any, or use sudo."
      case 2:
        "Yama's ptrace_scope is 2, which lets only administrators look, whatever inspect:any says (that is for scope 1; 0"
          + " asks for nothing): use sudo."
      case .some(let other):
        "Yama's ptrace_scope is \(other), which lets nobody look, not even with sudo, until the machine restarts with 0 or 1"
          + " (with 1, STAVE_OPTIONS=inspect:any opens a process). A core file can still be read."
      }
    let isRoot = geteuid() == 0
    let root = " This is root already: a container or sandbox around the command forbids it (it lacks CAP_SYS_PTRACE)."
    return "not allowed to read the memory of process \(process). \(advice)" + (isRoot ? root : "")
  }
}

/// One process that a name could have meant.
public struct ProcessCandidate: Equatable, Sendable {
  public var process: Int32
  /// Its arguments, or its name in brackets if it has none.
  public var command: String

  public init(process: Int32, command: String) {
    self.process = process
    self.command = command
  }
}

extension UInt {
  /// As "0x7f00", without leading zeros.
  public var hexadecimal: String { "0x" + String(self, radix: 16) }
}

extension String {
  /// With control characters replaced by "?", for the terminal: names come from the target, which may be hostile.
  public var printable: String {
    var scalars = String.UnicodeScalarView()
    for scalar in unicodeScalars {
      let value = scalar.value
      // C0, DEL, C1, and the marks that reverse the direction of text.
      let bad = value < 32 || (127...159).contains(value) || (0x202a...0x202e).contains(value) || (0x2066...0x2069).contains(value)
      scalars.append(bad ? "?" : scalar)
    }
    return String(scalars)
  }
}
