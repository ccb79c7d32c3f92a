// SPDX-License-Identifier: BSD-2-Clause
//
// From which memory domain's depot a bucket is taken, and to which one it goes, where all hold the same mixture: a pure function of how
// many items each holds (T3).

public struct DomainLoads {
  /// Items of each; below 0 for a domain that has no depot.
  private var items: InlineArray<16, Int> = InlineArray(repeating: -1)
  /// So many are plenty.
  static var plenty: Int { 254 }

  public init() {}

  public mutating func add(_ count: Int, in domain: Int) { items[domain] = max(0, count) }

  /// The near one while it has plenty; else the one that holds most, the near one among equals.
  public func source(near: Int) -> Int {
    guard items[near] <= DomainLoads.plenty else { return near }
    var most = near
    for domain in 0..<16 where items[domain] > items[most] { most = domain }
    return most
  }

  /// The near one, unless it holds twice as much as the one that holds least, which gets it then.
  public func target(near: Int) -> Int {
    var least = near
    for domain in 0..<16 where items[domain] >= 0 && items[domain] < items[least] { least = domain }
    return items[near] >= 2 * items[least] ? least : near
  }
}
