// SPDX-License-Identifier: BSD-2-Clause
//
// Requests of tasks that wait at a limit.

extension Zone where Element: ~Copyable {
  /// Memory for one value; at the zone's limit, when it is this task's turn. The task is suspended meanwhile and blocks no thread; tasks
  /// and threads that wait are served in the order in which they came.
  ///
  /// - Throws: ``ZoneError/cancelled`` if the task is cancelled before its turn, ``ZoneError/outOfMemory`` if it is not the limit that is
  ///   met.
  public func allocateWhenFree() async throws(ZoneError) -> UnsafeMutablePointer<Element> {
    try await itemInTurn().assumingMemoryBound(to: Element.self)
  }

  /// A value in the zone, as ``allocateWhenFree()`` has memory for it. Where it throws the value is gone.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     let connection = try await connections.itemWhenFree(Connection())
  public func itemWhenFree(_ value: consuming Element) async throws(ZoneError) -> ZoneItem<Element> {
    let element = try await allocateWhenFree()
    element.initialize(to: value)
    return ZoneItem(element, home)
  }
}
