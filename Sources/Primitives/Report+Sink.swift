// SPDX-License-Identifier: BSD-2-Clause
//
// Where reports go: standard error, a file, or the system's log; standard error also where one of the others does not take them. No
// descriptor is kept, for programs close those they do not know, and none of libc's functions is called.
//
// One thread writes at a time, from the first part of its report to the last. Whoever waits does so for a second and then writes
// too: the other may have been stopped, or be this thread itself, before a signal.

import CPlatform

public enum ReportPlace {
  public static let standardError: UInt32 = 0
  public static let log: UInt32 = 1
  public static let file: UInt32 = 2
}

extension Report {
  /// From here on to this file. False for what is no path from / on, or longer than 255 bytes. Before there are threads.
  public static func send(toFile path: TextSlice) -> Bool {
    guard path.count > 1, path.start[0] == 0x2f, path.count < Int(STAVE_REPORT_PATH_BYTES) else { return false }
    for index in 0..<path.count { stave_report_path()[index] = CChar(bitPattern: path.start[index]) }
    stave_report_path()[path.count] = 0
    return true
  }

  /// Writes what has been composed to `file` and empties the report.
  public mutating func write(to file: Int32) {
    write(count: used, to: file)
    used = 0
  }

  /// The same to where reports go.
  public mutating func write() {
    begin()
    emit(used)
    used = 0
    end()
  }

  /// What the buffer has of whole lines goes out; all of it if there is none. Behind the last report that is written it is dropped.
  mutating func makeRoom() {
    if !Self.endsProcess && stave_load64(&stave_reports().pointee.count) >= UInt64(Self.mostReports) {
      used = 0
      return
    }
    var count = used
    while count > 0 && buffer[count - 1] != 10 { count -= 1 }
    if count == 0 { count = used }
    begin()
    emit(count)
    for index in count..<used { buffer[index - count] = buffer[index] }
    used -= count
  }

  private mutating func begin() {
    guard !isWriter else { return }
    isWriter = true
    let thread = Int32(truncatingIfNeeded: stave_gettid())
    var tries = 0
    while tries < 1000 && !stave_swap32(&stave_reports().pointee.writer, 0, thread) {
      if stave_load32(&stave_reports().pointee.writer) == thread { break }
      var never: UInt32 = 0
      _ = stave_futex_wait(&never, 0, 1_000_000)
      tries += 1
    }
    _ = stave_exchange32(&stave_reports().pointee.writer, thread)
  }

  mutating func end() {
    if isWriter { _ = stave_swap32(&stave_reports().pointee.writer, Int32(truncatingIfNeeded: stave_gettid()), 0) }
    isWriter = false
  }

  /// The first `count` bytes.
  private mutating func emit(_ count: Int) {
    guard count > 0 else { return }
    switch stave_reports().pointee.place {
    case ReportPlace.log where writeToLog(count: count): break
    case ReportPlace.file where writeToFile(count: count): break
    case ReportPlace.standardError: write(count: count, to: Self.standardError)
    default:
      stave_add(&stave_reports().pointee.misdirected, 1)
      write(count: count, to: Self.standardError)
    }
  }

  /// Descriptor 2; at the process's end a copy of what it was at the start, for many a program has closed it by then.
  private static var standardError: Int32 { stave_reports().pointee.copy > 0 ? stave_reports().pointee.copy : 2 }

  /// False unless all of it was written.
  @discardableResult
  private mutating func write(count: Int, to file: Int32) -> Bool {
    withUnsafePointer(to: &buffer) { start in
      let raw = UnsafeRawPointer(start)
      var done = 0
      while done < count {
        let written = stave_write_quietly(file, raw + done, count - done)
        if written == -4 /* EINTR */ { continue }
        if written <= 0 { return false }
        done += written
      }
      return true
    }
  }

  /// In the path, %p is the process's number.
  private mutating func writeToFile(count: Int) -> Bool {
    var path = Report()
    var next = stave_report_path()
    while next.pointee != 0 {
      let isNumber = next[0] == 0x25 && next[1] == 0x70
      if isNumber { path.number(UInt(stave_getpid())) } else { path.byte(UInt8(bitPattern: next.pointee)) }
      next += isNumber ? 2 : 1
    }
    path.byte(0)
    let file = withUnsafePointer(to: &path.buffer) { stave_open_to_append(UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self)) }
    guard file >= 0 else { return false }
    defer { _ = stave_close(Int32(file)) }
    return write(count: count, to: Int32(file))
  }

  /// A datagram for each line, as syslog(3) composes it: user.err, and whose it is.
  private mutating func writeToLog(count: Int) -> Bool {
    let socket = stave_log_socket()
    guard socket >= 0 else { return false }
    defer { _ = stave_close(Int32(socket)) }
    var start = 0
    while start < count {
      var end = start
      while end < count && buffer[end] != 10 { end += 1 }
      var line = Report()
      line.text("<11>")
      // A report's first line says so itself.
      let isFirst = end - start > 6 && buffer[start] == 0x73 && buffer[start + 5] == 0x5b
      if !isFirst {
        line.text("stave[")
        line.number(UInt(stave_getpid()))
        line.text("]: ")
      }
      for index in start..<end { line.byte(buffer[index]) }
      let bytes = line.used
      let sent = withUnsafePointer(to: &line.buffer) { start in
        var sent = stave_send_to_log(Int32(socket), start, bytes)
        while sent == -4 /* EINTR */ { sent = stave_send_to_log(Int32(socket), start, bytes) }
        return sent
      }
      if sent < 0 { return false }
      start = end + 1
    }
    return true
  }
}
