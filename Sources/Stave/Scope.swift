// SPDX-License-Identifier: BSD-2-Clause
//
// Scopes: all that a thread allocates within a closure is of one type.

internal import StaveC

/// Calls `body`; whatever this thread allocates meanwhile is of `type`: Swift's objects, arrays and strings, and what C and C++
/// libraries ask malloc for. Memory is charged back to the type when it is freed, wherever and by whomever that happens.
///
/// Scopes nest; the inner one counts. Other threads, and tasks that the closure starts, are not in it. A call that names a type, such
/// as ``MallocType/allocate(byteCount:alignment:_:)``, keeps its own. The closure must be synchronous, since a task may go on on
/// another thread after each suspension: an asynchronous one does not compile. Memory that is allocated once and kept, such as a
/// cache that the closure happens to fill first, is of the type as well.
///
/// With a malloc that is not Stave's, `body` is called and nothing is counted; the first such call says so on standard error.
///
/// Costs some 5 ns. The first scope of a process makes each malloc ask one question more, for good: 1 to 2 ns for a pair of malloc
/// and free, inside or outside of scopes.
///
/// - Returns: What `body` returns.
/// - Throws: What `body` throws; the scope ends.
public func withMallocType<Result: ~Copyable, Failure: Error>(
  _ type: MallocType, _ body: () throws(Failure) -> Result
) throws(Failure) -> Result {
  guard let enter = Library.functions?.type_enter, let leave = Library.functions?.type_leave else {
    Library.saysThatItIsMissing
    return try body()
  }
  let before = enter(type.structure)
  defer { leave(before) }
  return try body()
}

/// For what this module itself keeps.
func outsideScopes<Result>(_ body: () -> Result) -> Result {
  guard let enter = Library.functions?.type_enter, let leave = Library.functions?.type_leave else { return body() }
  let before = enter(nil)
  defer { leave(before) }
  return body()
}
