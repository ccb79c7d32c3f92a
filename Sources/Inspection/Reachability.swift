// SPDX-License-Identifier: BSD-2-Clause
//
// What can be reached from what: a pure function of a graph. Nodes are items, edges are the words in them that are addresses of items;
// the roots are the words outside all items.
//
// An edge is an item's number; its uppermost bit says that the word leads into the item beyond its first bytes (`innerFrom`). First
// all is followed that can be reached without such an edge, then the rest: what is found only then is alive as well, but an address
// in its middle may be there by chance.
//
// What cannot be reached is divided among heads: an item that none of another head's leads to, with all that it leads to. Of a ring
// the item with the lowest address is its head. An item that two heads lead to is counted for one of them.

struct ItemGraph {
  /// An edge's word.
  typealias Edge = UInt32
  static var inner: Edge { 1 << 31 }
  /// A word leads to an item's beginning if it is at most so many bytes into it: C++ keeps the length of an array before it, and
  /// libc a thread's table of variables behind its length.
  static var innerFrom: UInt { 17 }

  /// For each node the place of its first edge, and behind them how many edges there are.
  var first: [Int]
  var edges: [Edge]
  var roots: [Edge]
}

struct Reachability {
  enum State { static let lost: UInt8 = 0, inner: UInt8 = 1, reached: UInt8 = 2 }

  /// A `State` of each node.
  private(set) var states: [UInt8]
  /// Of each lost node its head, itself for a head; of others nothing.
  private(set) var heads: [UInt32]

  /// Takes time and memory in proportion to nodes and edges.
  init(_ graph: ItemGraph) {
    let count = max(0, graph.first.count - 1)
    states = [UInt8](repeating: State.lost, count: count)
    heads = [UInt32](repeating: .max, count: count)
    mark(graph)
    divide(graph)
  }

  private mutating func mark(_ graph: ItemGraph) {
    states.withUnsafeMutableBufferPointer { states in
      graph.edges.withUnsafeBufferPointer { edges in
        graph.first.withUnsafeBufferPointer { first in
          var whole: [UInt32] = [], inner: [UInt32] = []
          func meet(_ edge: ItemGraph.Edge) {
            let node = edge & ~ItemGraph.inner
            if edge & ItemGraph.inner == 0 {
              guard states[Int(node)] != State.reached else { return }
              states[Int(node)] = State.reached
              whole.append(node)
            } else if states[Int(node)] == State.lost {
              states[Int(node)] = State.inner
              inner.append(node)
            }
          }
          for edge in graph.roots { meet(edge) }
          while let node = whole.popLast() {
            for place in first[Int(node)]..<first[Int(node) + 1] { meet(edges[place]) }
          }
          // Those that have been reached otherwise meanwhile have been followed.
          inner.removeAll { states[Int($0)] == State.reached }
          while let node = inner.popLast() {
            for place in first[Int(node)]..<first[Int(node) + 1] { meet(edges[place] | ItemGraph.inner) }
          }
        }
      }
    }
  }

  /// Two walks over what is lost. The first, from the lowest address on, notes each node when all that it leads to has been met: so what
  /// leads to a node, and is not led to by it, is noted behind it. The second takes the last that was noted first.
  private mutating func divide(_ graph: ItemGraph) {
    let none = UInt32.max
    var noted: [UInt32] = []
    var isMet = [Bool](repeating: false, count: states.count)
    var path: [(node: UInt32, place: Int)] = []
    for start in states.indices where states[start] == State.lost && !isMet[start] {
      isMet[start] = true
      path.append((UInt32(start), graph.first[start]))
      while let (node, place) = path.last {
        guard place < graph.first[Int(node) + 1] else {
          noted.append(node)
          path.removeLast()
          continue
        }
        path[path.count - 1].place = place + 1
        let other = graph.edges[place] & ~ItemGraph.inner
        guard states[Int(other)] == State.lost, !isMet[Int(other)] else { continue }
        isMet[Int(other)] = true
        path.append((other, graph.first[Int(other)]))
      }
    }
    var pending: [UInt32] = []
    for head in noted.reversed() where heads[Int(head)] == none {
      heads[Int(head)] = head
      pending.append(head)
      while let node = pending.popLast() {
        for place in graph.first[Int(node)]..<graph.first[Int(node) + 1] {
          let other = graph.edges[place] & ~ItemGraph.inner
          guard states[Int(other)] == State.lost, heads[Int(other)] == none else { continue }
          heads[Int(other)] = head
          pending.append(other)
        }
      }
    }
  }
}
