// SPDX-License-Identifier: BSD-2-Clause
//
// The scripts of compilers: what they make is compared, too.

import Foundation

extension RealProgram {
  static let cCompiler = RealProgram(
    name: "C compiler", needs: ["cc"],
    files: ["tree.c": cSource],
    script: #"""
      cc -O2 -c tree.c -o tree.o
      cc -O2 -S tree.c -o tree.s
      cc -O0 tree.c -o tree
      ./tree
      if command -v clang >/dev/null; then clang -O2 -c tree.c -o clang.o; else cp tree.o clang.o; fi
      """#,
    results: ["tree.o", "tree.s", "clang.o"])

  private static let cSource = #"""
    #include <ctype.h>
    #include <math.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    struct node { struct node *left, *right; unsigned key, height; char name[24]; };
    static unsigned height(struct node *n) { return n ? n->height : 0; }
    static struct node *turn(struct node *n, int right) {
      struct node *up = right ? n->left : n->right;
      if (right) n->left = up->right, up->right = n; else n->right = up->left, up->left = n;
      n->height = 1 + (height(n->left) > height(n->right) ? height(n->left) : height(n->right));
      up->height = 1 + (height(up->left) > height(up->right) ? height(up->left) : height(up->right));
      return up;
    }
    static struct node *insert(struct node *n, unsigned key) {
      if (!n) {
        n = calloc(1, sizeof *n);
        n->key = key, n->height = 1;
        snprintf(n->name, sizeof n->name, "node %u", key);
        return n;
      }
      if (key < n->key) n->left = insert(n->left, key); else if (key > n->key) n->right = insert(n->right, key);
      n->height = 1 + (height(n->left) > height(n->right) ? height(n->left) : height(n->right));
      if (height(n->left) > height(n->right) + 1) return turn(n, 1);
      if (height(n->right) > height(n->left) + 1) return turn(n, 0);
      return n;
    }
    static unsigned long sum(struct node *n) {
      if (!n) return 0;
      unsigned long s = sum(n->left) * 31 + n->key + strlen(n->name) + sum(n->right);
      free(n);
      return s;
    }
    int main(void) {
      struct node *root = NULL;
      unsigned key = 1;
      for (int i = 0; i < 100000; i++) root = insert(root, (key = key * 1664525 + 1013904223) >> 8);
      unsigned tall = height(root);
      printf("%u %lx\n", tall, sum(root));
      return 0;
    }
    """#

  static let swiftCompiler = RealProgram(
    name: "Swift compiler", needs: ["swiftc"],
    files: ["main.swift": swiftSource],
    script: #"""
      # The compiler names opened existentials by the time of day, with any allocator.
      swiftc -module-name Words -emit-sil -O main.swift -o named.sil
      sed 's/[0-9A-F]\{8\}-[0-9A-F]\{4\}-[0-9A-F]\{4\}-[0-9A-F]\{4\}-[0-9A-F]\{12\}/UUID/g' named.sil > words.sil
      swiftc -module-name Words -O -wmo -c main.swift -o words.o
      swiftc -module-name Words -Onone main.swift -o words
      ./words
      """#,
    results: ["words.sil", "words.o"], seconds: 300)

  private static let swiftSource = #"""
    protocol Shape { var area: Double { get } }
    struct Square: Shape, Hashable { var side: Double; var area: Double { side * side } }
    struct Circle: Shape, Hashable { var radius: Double; var area: Double { 3.14 * radius * radius } }
    final class Node<Value: Comparable> {
      var value: Value, left: Node?, right: Node?
      init(_ value: Value) { self.value = value }
      func insert(_ new: Value) {
        if new < value { if let left { left.insert(new) } else { left = Node(new) } }
        else if new > value { if let right { right.insert(new) } else { right = Node(new) } }
      }
      func walk(_ body: (Value) throws -> Void) rethrows { try left?.walk(body); try body(value); try right?.walk(body) }
    }
    enum Token: Equatable { case number(Int), word(String), mark(Character) }
    func tokens(_ text: String) -> [Token] {
      var result: [Token] = [], word = ""
      func flush() {
        guard !word.isEmpty else { return }
        result.append(Int(word).map(Token.number) ?? .word(word)); word = ""
      }
      for character in text { if character.isLetter || character.isNumber { word.append(character) } else { flush(); if character != " " { result.append(.mark(character)) } } }
      flush()
      return result
    }
    var shapes: [any Shape] = []
    for index in 1...500 { if index % 2 == 0 { shapes.append(Square(side: Double(index))) } else { shapes.append(Circle(radius: Double(index))) } }
    shapes.sort { $0.area < $1.area }
    print(shapes.reduce(0) { $0 + $1.area }, shapes.count)
    let root = Node("m")
    for number in 0..<3000 { root.insert(String(number * 7919 % 3001, radix: 36)) }
    var joined = ""
    root.walk { joined += $0 + "," }
    print(joined.count, joined.prefix(60))
    print(tokens(String(repeating: "keg 12, (zone) slab! ", count: 300)).filter { $0 == .word("slab") }.count)
    var counts: [String: Int] = [:]
    for index in 0..<20000 { counts["key \(index % 997)", default: 0] += index }
    print(counts.sorted { $0.key < $1.key }.prefix(5).map { "\($0.key)=\($0.value)" })
    """#
}
