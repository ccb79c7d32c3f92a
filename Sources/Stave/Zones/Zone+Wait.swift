// SPDX-License-Identifier: BSD-2-Clause
//
// Requests of tasks that wait at a limit.

extension Zone where Element: ~Copyable {
  /// Memory for one value; at the zone's limit, when it is this task's turn. The task is suspended meanwhile and blocks no thread; tasks
  /// and threads that wait are served in the order in which they came.
  ///
  /// A free hands its item to whoever waits. An item that was already in another CPU's cache when the task began to wait is found by
  /// looking again: after 10 ms, then ever more rarely, up to once a second.
  ///
  /// - Throws: ``ZoneError/cancelled`` if the task is cancelled before its turn, ``ZoneError/outOfMemory`` if there is no
  ///   memory.
  public func allocateWhenFree() async throws(ZoneError) -> UnsafeMutablePointer<Element> {
    try await itemInTurn().assumingMemoryBound(to: Element.self)
  }

  /// A value in the zone, in memory from ``allocateWhenFree()``. If that throws, the value is deinitialised.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     let connection = try await connections.itemWhenFree(Connection())
  public func itemWhenFree(_ value: consuming Element) async throws(ZoneError) -> ZoneItem<Element> {
    let element = try await allocateWhenFree()
    element.initialize(to: value)
    return ZoneItem(element, home)
  }
}
