// SPDX-License-Identifier: BSD-2-Clause
//
// The real programs, and the scripts of the tools among them. What they print depends on nothing but the program: no dates, addresses, process numbers.

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
}
