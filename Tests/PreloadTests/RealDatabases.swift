// SPDX-License-Identifier: BSD-2-Clause
//
// The scripts of databases, in the process and as servers.

import Foundation

extension RealProgram {
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
