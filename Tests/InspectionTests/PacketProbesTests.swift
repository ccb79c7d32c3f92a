// SPDX-License-Identifier: BSD-2-Clause
//
// The probes of packet buffers, in a child that traces itself: readelf names their places, a breakpoint takes the place of each nop, and
// a handler of SIGTRAP keeps what lies in the registers that the notes name.

#if arch(x86_64)
  import CPlatform
  import Foundation
  import Testing

  @testable import Exporters
  @testable import Inspection
  @testable import PacketBuffers
  @testable import TestSupport

  /// A note of this program.
  private struct Site {
    var name = ""
    var place: UInt = 0
    var semaphore: UInt = 0
    /// Indices into the registers of a signal's context.
    var registers: [Int] = []
  }

  private let registerNumbers = [
    "%r8": 0, "%r9": 1, "%r10": 2, "%r11": 3, "%r12": 4, "%r13": 5, "%r14": 6, "%r15": 7, "%rdi": 8, "%rsi": 9, "%rbp": 10, "%rbx": 11,
    "%rdx": 12, "%rax": 13, "%rcx": 14,
  ]

  /// What a handler of signals may touch: memory that is there already.
  private enum Heard {
    static let most = 4096
    nonisolated(unsafe) static let rows = UnsafeMutablePointer<UInt64>.allocate(capacity: most * 17)
    nonisolated(unsafe) static var count = 0

    static let listen: @convention(c) (Int32, UnsafeMutablePointer<siginfo_t>?, UnsafeMutableRawPointer?) -> Void = { _, _, context in
      let registers = context!.assumingMemoryBound(to: ucontext_t.self).pointee.uc_mcontext.gregs
      withUnsafeBytes(of: registers) { bytes in
        guard count < most else { return }
        for index in 0..<17 { rows[count * 17 + index] = bytes.load(fromByteOffset: index * 8, as: UInt64.self) }
      }
      count += 1
    }
  }

  private func demand(_ isTrue: Bool, _ what: String) {
    guard !isTrue else { return }
    print("FAILED: \(what)")
    exit(9)
  }

  private func sites(_ readelf: String) throws -> [Site] {
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let ended = try run(readelf, ["-nW", program], seconds: 60)
    let base = try #require(try LiveProcess(process: getpid()).mappings().first { $0.path == program && $0.offset == 0 }).start
    var all: [Site] = [], site = Site()
    func number(_ text: Substring) -> UInt { UInt(text.dropFirst(2).prefix { $0.isHexDigit }, radix: 16) ?? 0 }
    for line in ended.text.split(separator: "\n") {
      let words = line.split(separator: " ")
      if let place = words.firstIndex(of: "Name:"), place + 1 < words.count { site.name = String(words[place + 1]) }
      if let place = words.firstIndex(of: "Location:") { site.place = base + number(words[place + 1]) }
      if let place = words.firstIndex(of: "Semaphore:") { site.semaphore = base + number(words[place + 1]) }
      guard let place = words.firstIndex(of: "Arguments:") else { continue }
      site.registers = words[(place + 1)...].map { word in registerNumbers[String(word.split(separator: "@").last ?? "")] ?? -1 }
      if site.name.hasPrefix("m_") { all.append(site) }
    }
    return all
  }

  /// What fired while `body` ran, as words: the name and the arguments.
  private func heard(_ all: [Site], _ body: () -> Void) -> [[String]] {
    Heard.count = 0
    body()
    return (0..<min(Heard.count, Heard.most)).compactMap { row in
      let registers = Heard.rows + row * 17
      guard let site = all.first(where: { UInt64($0.place) + 1 == registers[16] }) else { return nil }
      return [site.name] + site.registers.map { String(registers[$0]) }
    }
  }

  private func text(_ pointer: UnsafeMutableRawPointer?) -> String { "\(UInt(bitPattern: pointer))" }
  private func text(_ mbuf: MbufPointer?) -> String { "\(UInt(bitPattern: mbuf))" }

  extension OnOwnRoot {
    @Suite struct PacketProbesTests {
      @Test(.enabled(if: find("readelf") != nil)) func `13.6.2 the probes of packet buffers fire with their arguments and result, and only while somebody watches`() async {
        await #expect(processExitsWith: .success) {
          Stage.up()
          demand(packets.start(), "start")
          let all = try sites(find("readelf")!)
          demand(all.map(\.name).sorted() == Probe.packets.map(\.name).sorted(), "notes: \(all.map(\.name))")
          for probe in Probe.packets { demand(all.first { $0.name == probe.name }?.registers.count == probe.arguments.count, probe.name) }
          demand(all.allSatisfy { $0.semaphore != 0 && !$0.registers.contains(-1) }, "registers: \(all)")
          var action = sigaction()
          action.__sigaction_handler.sa_sigaction = Heard.listen
          action.sa_flags = SA_SIGINFO
          sigaction(SIGTRAP, &action, nil)
          for site in all {
            let page = UnsafeMutableRawPointer(bitPattern: site.place & ~4095)!
            demand(mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) == 0, "a page of code")
            let nop = UnsafeMutablePointer<UInt8>(bitPattern: site.place)!
            demand(nop.pointee == 0x90, "\(site.name): no nop where its note says")
            nop.pointee = 0xcc
          }
          func change(by step: Int32) {
            for site in all {
              let semaphore = UnsafeMutablePointer<UInt16>(bitPattern: site.semaphore)!
              semaphore.pointee = UInt16(Int32(semaphore.pointee) + step)
            }
          }
          let header = "\(MbufFlags.packetHeader.rawValue)", data = "\(MbufType.data.rawValue)"
          let both = "\(MbufFlags.packetHeader.union(.external).rawValue)", bare = "\(MbufFlags.external.rawValue)"
          demand(heard(all) { packets.getPacket()!.freeChain() }.isEmpty, "nobody watches")
          change(by: 1)
          var one: MbufPointer!, two: MbufPointer!
          demand(heard(all) { one = packets.get() } == [["m_init", text(one), "1", data, "0"], ["m_get", "1", data, text(one)]], "m_get")
          demand(heard(all) { two = packets.getHeader(.wait) } == [["m_init", text(two), "2", data, header], ["m_gethdr", "2", data, text(two)]], "m_gethdr")
          demand(heard(all) { _ = one.attachCluster() } == [["m_clget", text(one), "1", "1"]], "m_clget")
          var cluster: UnsafeMutableRawPointer!
          demand(heard(all) { cluster = packets.getCluster(Cluster.nine, for: nil) } == [["m_cljget", "0", "1", "9216", text(cluster)]], "m_cljget")
          demand(heard(all) { two.attachCluster(cluster, size: Cluster.nine) } == [["m_cljset", text(two), text(cluster), "9216"]], "m_cljset")
          one.pointee.next = two
          demand(heard(all) { one.freeChain() } == [["m_freem", text(one)], ["m_free", text(one)], ["m_free", text(two)]], "m_freem")
          let packet = heard(all) { one = packets.getPacket(flags: .none) }
          demand(packet == [["m_init", text(one), "1", data, bare], ["m_getcl", "1", data, "0", text(one)]], "m_getcl: \(packet)")
          let jumbo = heard(all) { two = packets.getJumbo(Cluster.sixteen) }
          demand(jumbo.map { $0[0] } == ["m_init", "m_gethdr", "m_cljget", "m_getjcl"], "m_getjcl: \(jumbo)")
          demand(jumbo[3] == ["m_getjcl", "1", data, header, "16384", text(two)] && jumbo[2][1...3] == [text(two), "1", "16384"], "m_getjcl: \(jumbo)")
          let plain = heard(all) { _ = packets.getJumbo(Cluster.size)!.free() }
          demand(plain.map { $0[0] } == ["m_init", "m_getcl", "m_getjcl", "m_free"] && plain[0][4] == both, "2 KiB: \(plain)")
          // What was refused has no address.
          demand(packets.setLimit(.nines, 1), "a limit")
          let last = packets.getJumbo(Cluster.nine)
          let refused = heard(all) { _ = packets.getJumbo(Cluster.nine) }
          demand(last == nil || refused.last == ["m_getjcl", "1", data, header, "9216", "0"], "refused: \(refused)")
          change(by: -1)
          demand(heard(all) { _ = (one.free(), two.free()) }.isEmpty, "nobody watches any more")
        }
      }
    }
  }
#endif
