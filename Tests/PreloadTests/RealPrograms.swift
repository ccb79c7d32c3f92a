// SPDX-License-Identifier: BSD-2-Clause
//
// The scripts of the real programs. What they print depends on nothing but the program: no dates, addresses, process numbers.

import Foundation

extension RealProgram {
  static let all = [git, cCompiler, swiftCompiler, python, perl, sqlite, textTools, redis, java, node, postgres]

  static let git = RealProgram(
    name: "git", needs: ["git"],
    script: #"""
      git init -q -b main repository
      cd repository
      git config user.name Cooper
      git config user.email cooper@example.org
      git config pack.threads 1
      i=1
      {
        while [ $i -le 400 ]; do
          echo "commit refs/heads/main"
          echo "committer Cooper <cooper@example.org> $((1600000000 + i * 3600)) +0000"
          message="change number $i"
          echo "data ${#message}"
          echo "$message"
          text="file $((i % 37)) revision $i $(printf '%0*d' $((i % 300 + 1)) $i)"
          echo "M 644 inline folder$((i % 7))/file$((i % 37)).txt"
          echo "data ${#text}"
          echo "$text"
          i=$((i + 1))
        done
      } | git fast-import --quiet
      git checkout -q main
      git log --stat -p --reverse
      git gc -q --aggressive --prune=now
      git fsck --strict --no-progress
      git rev-list --objects --all
      git verify-pack -v .git/objects/pack/*.idx
      git log --format='%h %s' -S'revision 17' --all
      git blame folder1/file1.txt
      git diff HEAD~200 HEAD
      git grep -n 'revision 3'
      """#)

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
      printf("%u %lx\n", height(root), sum(root));
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

  static let python = RealProgram(
    name: "python3", needs: ["python3"],
    files: [
      "work.py": #"""
        import collections, hashlib, json, random, re, sqlite3, subprocess, sys, threading, zlib
        random.seed(5)
        table = {i: [random.random() for _ in range(i % 50)] for i in range(20000)}
        print(len(json.dumps(table)), hashlib.sha256(json.dumps(table).encode()).hexdigest())
        words = [''.join(random.choice('abcdefg') for _ in range(random.randint(1, 40))) for _ in range(100000)]
        print(collections.Counter(words).most_common(5), sum(len(w) for w in set(words)))
        print(zlib.crc32(zlib.compress(' '.join(words).encode())), len(re.findall(r'ab+c', ' '.join(words))))
        totals = [0] * 8
        def work(n):
            mine = random.Random(n)
            for _ in range(20000):
                s = bytearray(mine.randint(0, 5000)); totals[n] += len(s)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        print(totals)
        base = sqlite3.connect(':memory:')
        base.execute('create table t(a, b)')
        base.executemany('insert into t values(?, ?)', ((i, words[i]) for i in range(20000)))
        print(base.execute('select count(distinct b), max(b) from t').fetchone())
        for n in range(20):
            print(subprocess.run([sys.executable, '-c', f'print({n} ** 50)'], capture_output=True, text=True).stdout.strip())
        print(str(3 ** 8000)[:50], sum(i * i for i in range(10 ** 5)))
        """#
    ],
    script: "python3 work.py")

  static let perl = RealProgram(
    name: "perl", needs: ["perl"],
    files: [
      "work.pl": #"""
        use strict; use warnings;
        my ($seed, %count, @lines) = (1);
        for my $i (1 .. 60000) {
          $seed = ($seed * 1103515245 + 12345) % 2147483648;
          my $word = join '', map { chr(97 + ($seed >> $_) % 26) } 1 .. 3 + $seed % 20;
          $count{$word}++; push @lines, "$word:$i" if $i % 3 == 0;
        }
        print scalar(keys %count), " ", join(",", (sort keys %count)[0 .. 9]), "\n";
        my $text = join "\n", @lines; my $hits = () = $text =~ /([aeiou])[a-z]*\1/g;
        print length($text), " $hits\n";
        $text =~ s/(\w+):(\d+)/$2-$1/g; print unpack("%32C*", $text), "\n";
        my @pids = map { my $n = $_; my $pid = fork; if (!$pid) { my @a = map { "x" x $_ } 1 .. 500; exit($n + @a % 7) } $pid } 1 .. 10;
        print join(" ", map { waitpid($_, 0); $? >> 8 } @pids), "\n";
        my $tree; $tree = [$tree, "y" x ($_ % 100)] for 1 .. 50000; my $depth = 0;
        while ($tree) { $depth++; $tree = $tree->[0] } print "$depth\n";
        """#
    ],
    script: "perl work.pl")

  static let sqlite = RealProgram(
    name: "sqlite3", needs: ["sqlite3"],
    files: [
      "work.sql": #"""
        create table items(id integer primary key, name text, weight real, body blob);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)
          insert into items select i, 'item ' || (i * 7919 % 40009), i * 1.5, zeroblob(i % 200) from n;
        create index byName on items(name);
        select count(*), sum(weight), max(name), sum(length(body)) from items;
        select substr(name, 1, 7) as k, count(*), avg(weight) from items group by k order by 2 desc, k limit 20;
        update items set name = upper(name) where id % 3 = 0;
        delete from items where id % 11 = 0;
        select a.id, b.id from items a join items b on a.name = 'ITEM ' || b.id order by 1 limit 20;
        vacuum;
        pragma integrity_check;
        select group_concat(name, ';') from (select name from items order by name limit 2000);
        """#
    ],
    script: "sqlite3 base.db < work.sql", results: ["base.db"])

  static let textTools = RealProgram(
    name: "awk and sort", needs: ["awk", "sort", "sed", "uniq"],
    script: #"""
      awk 'BEGIN { s = 1; for (i = 0; i < 200000; i++) { s = (s * 16807) % 2147483647; printf "%d word%d %s\n", s, s % 5003, substr("abcdefghijklmnopqrstuvwxyz", s % 20 + 1, 6) } }' > data
      sort -S 4M --parallel=2 data > sorted
      sort -k2,2 -k1,1nr data | head -1000 | sed -e 's/word\([0-9]*\)/<\1>/g'
      awk '{ n[$2]++; t[$3] = t[$3] (length(t[$3]) < 5000 ? $1 : "") } END { for (k in n) print k, n[k]; for (k in t) print k, length(t[k]) }' data | sort
      cut -d' ' -f3 data | sort | uniq -c | sort -rn
      """#,
    results: ["sorted"])

  static let redis = RealProgram(
    name: "redis", needs: ["redis-server", "redis-cli"],
    files: [
      "commands": #"""
        eval "for i = 1, 20000 do redis.call('set', 'key:' .. i, string.rep('v', i % 700)) end return redis.call('dbsize')" 0
        eval "for i = 1, 20000 do redis.call('rpush', 'list:' .. i % 20, 'element ' .. i) end return redis.call('llen', 'list:3')" 0
        eval "for i = 1, 20000 do redis.call('zadd', 'ranks', i * 7919 % 10007, 'member ' .. i) end return redis.call('zcard', 'ranks')" 0
        eval "for i = 1, 20000 do redis.call('hset', 'hash:' .. i % 50, 'field ' .. i, i) end return redis.call('hlen', 'hash:7')" 0
        zrange ranks 0 40 withscores
        lrange list:5 10 60
        sort list:7 alpha desc limit 0 20
        save
        eval "for i = 1, 20000, 2 do redis.call('del', 'key:' .. i) end return redis.call('dbsize')" 0
        append key:2 abc
        setrange key:4 100000 x
        strlen key:4
        sadd left a b c d e
        sadd right c d e f
        sunionstore both left right
        scard both
        flushall
        dbsize
        """#
    ],
    script: #"""
      redis-server --port 0 --unixsocket "$PWD/socket" --save '' --appendonly no --dir "$PWD" --daemonize no > log 2>&1 &
      server=$!
      trap 'kill $server 2>/dev/null || :' EXIT
      tries=0
      until [ "$(redis-cli -s socket ping 2>/dev/null)" = PONG ]; do
        tries=$((tries + 1)); [ $tries -lt 200 ] || { cat log >&2; exit 1; }
        sleep 0.1
      done
      redis-cli -s socket < commands
      redis-cli -s socket bgsave > reply
      redis-cli -s socket shutdown nosave || :
      wait $server
      """#)

  static let java = RealProgram(
    name: "Java", needs: ["java"],
    files: [
      "Work.java": #"""
        import java.util.*;
        import java.util.stream.*;
        public class Work {
          public static void main(String[] a) throws Exception {
            Random r = new Random(5);
            Map<String, List<Integer>> m = new TreeMap<>();
            for (int i = 0; i < 200000; i++) m.computeIfAbsent("k" + r.nextInt(5000), k -> new ArrayList<>()).add(i);
            System.out.println(m.size() + " " + m.values().stream().mapToInt(List::size).max().getAsInt());
            long[] sums = new long[8];
            Thread[] t = new Thread[8];
            for (int i = 0; i < 8; i++) { int n = i; t[i] = new Thread(() -> { for (int j = 0; j < 300000; j++) sums[n] += ("" + j * n).hashCode(); }); t[i].start(); }
            for (Thread x : t) x.join();
            System.out.println(Arrays.toString(sums));
            java.util.zip.Deflater d = new java.util.zip.Deflater();
            byte[] in = m.toString().getBytes(), out = new byte[in.length * 2];
            d.setInput(in); d.finish(); System.out.println(in.length + " " + d.deflate(out)); d.end();
            System.out.println(IntStream.range(0, 100000).parallel().mapToLong(i -> (long) i * i).sum());
          }
        }
        """#
    ],
    script: #"""
      java -version 2>&1
      if command -v javac >/dev/null; then javac Work.java; java -cp . Work; fi
      """#)

  static let node = RealProgram(
    name: "node", needs: ["node"],
    files: [
      "work.js": #"""
        const crypto = require('crypto'), zlib = require('zlib'), { Worker, isMainThread, parentPort } = require('worker_threads');
        function work(seed) {
          const map = new Map(); let s = seed;
          for (let i = 0; i < 200000; i++) { s = (s * 16807) % 2147483647; map.set('k' + s % 9973, (map.get('k' + s % 9973) || '') + i % 10); }
          return crypto.createHash('sha256').update(JSON.stringify([...map])).digest('hex');
        }
        if (isMainThread) {
          console.log(work(1));
          const buffers = []; for (let i = 0; i < 3000; i++) buffers.push(Buffer.alloc(i * 7 % 9000, i % 256));
          const all = Buffer.concat(buffers), packed = zlib.gzipSync(all);
          console.log(all.length, packed.length, zlib.gunzipSync(packed).equals(all));
          const answers = []; let open = 4;
          for (let n = 0; n < 4; n++) {
            const w = new Worker(__filename); w.postMessage(n + 2);
            w.on('message', m => { answers[n] = m; w.terminate().then(() => { if (--open === 0) console.log(answers.join('\n')); }); });
          }
        } else parentPort.on('message', m => parentPort.postMessage(work(m)));
        """#
    ],
    script: "node work.js")

  /// Distributions keep the server's programs off PATH, in a folder per version.
  private static let postgresFolders: [String] = {
    let base = "/usr/lib/postgresql"
    let versions = (try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []
    return versions.sorted { $0.compare($1, options: .numeric) == .orderedDescending }.map { "\(base)/\($0)/bin" }
  }()

  static let postgres = RealProgram(
    name: "PostgreSQL", needs: ["initdb", "pg_ctl", "pgbench", "psql"],
    script: #"""
      initdb -D data -A trust -U cooper --no-sync --no-locale -E UTF8
      pg_ctl -D data -w -l log -o "-F -h '' -k $PWD" start > reply || { cat log >&2; exit 1; }
      trap 'pg_ctl -D data -m immediate stop > reply 2>&1 || :' EXIT
      export PGHOST="$PWD" PGUSER=cooper PGDATABASE=postgres
      pgbench -i -s 2 -q > reply 2>&1
      pgbench --random-seed=7 -c 4 -j 2 -t 250 > figures 2>&1 || { cat figures >&2; exit 1; }
      grep 'actually processed' figures
      psql -At <<'END'
      select sum(abalance), count(*), sum(aid) from pgbench_accounts;
      select sum(bbalance) from pgbench_branches;
      select count(*), sum(delta) from pgbench_history;
      create table words as select i, md5(i::text) as word, repeat(chr(97 + i % 26), i % 400) as body from generate_series(1, 30000) i;
      create index on words(word);
      select substr(word, 1, 2) as k, count(*), max(i) from words group by 1 order by 1 limit 40;
      select count(*) from words a join words b on substr(a.word, 1, 4) = substr(b.word, 1, 4) where a.i < b.i;
      select md5(string_agg(word || body, ',' order by word)) from words;
      select count(*) from (select distinct regexp_replace(body, '(.)\1*', '\1') from words) x;
      END
      pg_ctl -D data -m fast -w stop > reply
      trap - EXIT
      """#,
    seconds: 180, unprivileged: true, folders: postgresFolders)
}
