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

  private mutating func divide(_ graph: ItemGraph) {
    let none = UInt32.max
    var pending: [UInt32] = []
    for node in states.indices where states[node] == State.lost && heads[node] == none {
      let head = UInt32(node)
      heads[node] = head
      pending.append(head)
      while let next = pending.popLast() {
        for place in graph.first[Int(next)]..<graph.first[Int(next) + 1] {
          let other = graph.edges[place] & ~ItemGraph.inner
          guard states[Int(other)] == State.lost, other != head else { continue }
          if heads[Int(other)] == none {
            heads[Int(other)] = head
            pending.append(other)
          } else if heads[Int(other)] == other {
            // No head any more, and what it leads to is this one's.
            heads[Int(other)] = head
          }
        }
      }
    }
    for node in heads.indices where heads[node] != none {
      var head = heads[node]
      while heads[Int(head)] != head { head = heads[Int(head)] }
      var next = UInt32(node)
      while heads[Int(next)] != head {
        let behind = heads[Int(next)]
        heads[Int(next)] = head
        next = behind
      }
    }
  }
}
