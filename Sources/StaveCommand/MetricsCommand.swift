// SPDX-License-Identifier: BSD-2-Clause
//
// `stave metrics`: a process's figures as Prometheus reads them, once or by HTTP.

import ArgumentParser
import Exporters
import Glibc
import Inspection

#if NIO
  import MetricsServer
#endif

struct MetricsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Print a process's figures as OpenMetrics text.",
    discussion: """
      With --listen the command stays and answers HTTP requests for /metrics, each with a fresh look; a process that has gone is \
      answered with status 503 and the reason, and with --name the next of that name is looked at. SIGINT or SIGTERM ends it.
      """)

  @OptionGroup var target: TargetArguments

  @Option(help: ArgumentHelp("Answer HTTP requests at this address. Only in a command built with make TRAITS=NIO.", valueName: "host:port"))
  var listen: String?

  @Option(help: ArgumentHelp("Write to a file instead, in the format of node_exporter's textfile collector; replaced as a whole.", valueName: "file"), completion: .file())
  var textfile: String?

  func validate() throws {
    if listen != nil && textfile != nil { throw ValidationError("--listen and --textfile do not go together.") }
    if let listen, Address(listen) == nil { throw ValidationError("--listen takes HOST:PORT, as in 127.0.0.1:9101 or [::1]:9101; not \(listen).") }
  }

  func run() throws {
    if let listen { return try serve(at: Address(listen)!) }
    let snapshot = try ProcessReader(target.open(), root: target.root).look()
    if let textfile { return try replace(textfile, with: OpenMetrics.text(snapshot, .prometheus)) }
    emit(String(OpenMetrics.text(snapshot).dropLast()))
  }

  /// By way of a file beside it, so that nobody reads half of it.
  private func replace(_ path: String, with text: String) throws {
    let other = path + ".\(getpid())"
    let descriptor = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw InspectionError.cannotOpen(path: other, errno: errno) }
    var isDone = writeAll(text, to: descriptor)
    isDone = close(descriptor) == 0 && isDone && rename(other, path) == 0
    if isDone { return }
    let code = errno
    unlink(other)
    printError("stave: cannot write \(path.printable): \(String(cString: strerror(code)))")
    throw ExitCode(1)
  }

  // MARK: - HTTP

  struct Address {
    var host: String
    var port: Int

    init?(_ text: String) {
      guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else { return nil }
      var host = text[..<colon]
      if host.hasPrefix("[") && host.hasSuffix("]") { host = host.dropFirst().dropLast() } else if host.contains(":") { return nil }
      if host.isEmpty { return nil }
      (self.host, self.port) = (String(host), Int(port))
    }

    var text: String { host.contains(":") ? "[\(host)]" : host }
  }

  #if NIO
    private func serve(at address: Address) throws {
      let first = try target.open()
      _ = try ProcessReader(first, root: target.root)
      // Blocked before there are other threads, which inherit that, and taken here.
      var ends = sigset_t()
      sigemptyset(&ends)
      sigaddset(&ends, SIGINT)
      sigaddset(&ends, SIGTERM)
      pthread_sigmask(SIG_BLOCK, &ends, nil)
      signal(SIGPIPE, SIG_IGN)
      let target = self.target.name.map { _ in self.target }, root = self.target.root
      let server: MetricsServer
      do {
        server = try MetricsServer(host: address.host, port: address.port) { Self.answer(first, root: root, orNamed: target) }
      } catch {
        printError("stave: cannot listen at \(address.text):\(address.port): \("\(error)".printable)")
        throw ExitCode(1)
      }
      printError("stave: \(first.name.printable) at http://\(address.text):\(server.port)/metrics")
      var signal: Int32 = 0
      sigwait(&ends, &signal)
      server.close()
    }

    /// A fresh look. A process that was named by its number stays that process; one named by its name may be a new one.
    private static func answer(_ first: any TargetMemory, root: String?, orNamed again: TargetArguments?) -> MetricsServer.Answer {
      do throws(InspectionError) {
        var target = first
        if let live = first as? LiveProcess, !live.isAlive {
          guard let again else { throw .noSuchProcess(live.process) }
          target = try again.open()
        }
        return .init(status: 200, contentType: OpenMetrics.contentType, body: OpenMetrics.text(try ProcessReader(target, root: root).look()))
      } catch {
        return .init(status: 503, contentType: "text/plain; charset=utf-8", body: error.message + "\n")
      }
    }
  #else
    private func serve(at address: Address) throws {
      throw InspectionError.usage("this `stave` was built without an HTTP server; `make TRAITS=NIO` builds it with one. Meanwhile: stave metrics --textfile FILE")
    }
  #endif
}
