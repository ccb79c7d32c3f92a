#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# redis.sh FOLDER REQUESTS: a redis server under the allocator, its client without, over a socket in FOLDER.

socket=$1/redis.sock
rm -f "$socket"
redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no --dir "$1" >/dev/null 2>&1 &
server=$!
unset LD_PRELOAD
tries=0
until [ -S "$socket" ] && redis-cli -s "$socket" ping >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 500 ] || exit 1
  sleep 0.01
done
redis-benchmark -s "$socket" -q -P 16 -r 100000 -d 120 -n "$2" -t set,get,lpush,lpop,sadd,hset,spop >/dev/null || exit 1
redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1
wait $server
