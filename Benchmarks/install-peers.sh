#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Installs the allocators that Stave is measured against, and the programs that the suite runs under each of them; for stave-bench zones
# also DPDK, some 200 MB, and iperf3.
# Distribution packages come from apt (Debian and Ubuntu; elsewhere install the same by their own names), the newest
# mimalloc out of a Python wheel, unpacked under .peers/ and not installed. Every step may fail: the suite takes what
# it finds at run time, and says so.

set -u
cd "$(dirname "$0")" || exit 1

packages="libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0 redis-server redis-tools sqlite3 git perl python3 python3-pip iperf3 dpdk-dev libdpdk-dev"
wheel=${MIMALLOC_WHEEL:-cmeel-mimalloc==3.4.3}

say() { printf 'install-peers: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  # The distribution would start its redis at once; the suite starts its own, on a socket.
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null && as_root chmod +x $policy && made=1; }
  as_root apt-get update -q || say "apt-get update failed, going on with the lists at hand"
  for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 && continue
    as_root apt-get install -q -y --no-install-recommends "$package" || say "no $package"
  done
  [ -z "${made:-}" ] || as_root rm -f $policy
else
  say "no apt-get here: install jemalloc, gperftools and mimalloc with your own package manager"
fi

mkdir -p .peers
python=$(command -v python3) || { say "no python3, so no wheel of mimalloc"; exit 0; }
if "$python" -m pip download -q --no-deps --only-binary :all: -d .peers "$wheel"; then
  for file in .peers/*.whl; do
    folder=${file%%-py*.whl}
    rm -rf "$folder"
    "$python" -m zipfile -e "$file" "$folder" && rm "$file" && say "unpacked ${folder#.peers/}"
  done
else
  say "pip could not download $wheel"
fi
