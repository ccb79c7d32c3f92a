// SPDX-License-Identifier: BSD-2-Clause
//
// An address of a socket, as the system has it.

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Where a message came from, or goes to: an address and port of IPv4 or IPv6, or whatever else a socket has. A plain value of some 130
/// bytes that any thread may copy and use; nothing of it is allocated or asked of the system, and no name is looked up.
public struct PacketAddress: Sendable {
  var storage = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)

  init() {}

  /// An address of IPv4 in its usual form, "192.0.2.1", or of IPv6, "2001:db8::1"; nil if it is neither.
  ///
  ///     let target = PacketAddress("127.0.0.1", port: 5201)
  public init?(_ address: String, port: UInt16) {
    var four = in_addr(), six = in6_addr()
    if inet_pton(AF_INET, address, &four) == 1 {
      self.init(sockaddr_in(sin_family: sa_family_t(AF_INET), sin_port: port.bigEndian, sin_addr: four, sin_zero: (0, 0, 0, 0, 0, 0, 0, 0)))
    } else if inet_pton(AF_INET6, address, &six) == 1 {
      self.init(sockaddr_in6(sin6_family: sa_family_t(AF_INET6), sin6_port: port.bigEndian, sin6_flowinfo: 0, sin6_addr: six, sin6_scope_id: 0))
    } else {
      return nil
    }
  }

  private init<Address>(_ address: Address) {
    length = socklen_t(MemoryLayout<Address>.size)
    withUnsafeMutableBytes(of: &storage) { $0.baseAddress!.storeBytes(of: address, as: Address.self) }
  }

  /// The address in a structure that `getsockname` or another call has filled in. `bytes` begin with the family; beyond 128 they are
  /// ignored.
  public init(copying bytes: UnsafeRawBufferPointer) {
    length = socklen_t(Swift.min(bytes.count, MemoryLayout<sockaddr_storage>.size))
    withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(length)))) }
  }

  /// 0 for what is neither IPv4 nor IPv6.
  public var port: UInt16 {
    withUnsafeBytes { bytes in
      isInternet && bytes.count >= 4 ? UInt16(bytes[2]) << 8 | UInt16(bytes[3]) : 0
    }
  }

  private var isInternet: Bool { storage.ss_family == sa_family_t(AF_INET) || storage.ss_family == sa_family_t(AF_INET6) }

  /// As `bind`, `connect` and `sendto` take it.
  public func withUnsafeBytes<Result: ~Copyable, Failure: Error>(_ body: (UnsafeRawBufferPointer) throws(Failure) -> Result) throws(Failure) -> Result {
    var copy = storage
    let count = Int(length)
    return try withUnsafePointer(to: &copy) { (pointer) throws(Failure) -> Result in
      try body(UnsafeRawBufferPointer(start: pointer, count: count))
    }
  }

  public static func == (left: PacketAddress, right: PacketAddress) -> Bool {
    left.withUnsafeBytes { one in right.withUnsafeBytes { one.elementsEqual($0) } }
  }
}

extension PacketAddress: Equatable, Hashable, CustomStringConvertible {
  public func hash(into hasher: inout Hasher) { withUnsafeBytes { hasher.combine(bytes: $0) } }

  public var description: String {
    var text = [CChar](repeating: 0, count: 64)
    return withUnsafeBytes { bytes in
      let family = Int32(storage.ss_family)
      guard isInternet, inet_ntop(family, bytes.baseAddress! + (family == AF_INET ? 4 : 8), &text, 64) != nil else { return "family \(family)" }
      let address = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return family == AF_INET ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
  }
}
