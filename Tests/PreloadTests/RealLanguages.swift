// SPDX-License-Identifier: BSD-2-Clause
//
// The scripts of interpreters and machines that run programs: Python, Perl, Java, JavaScript.

import Foundation

extension RealProgram {
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
}
