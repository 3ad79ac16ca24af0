#!/bin/bash
# Runs the benchmark inside the namespace of run.sh: a network of its own, in which the
# benchmark's resolver is the only one.
set -euo pipefail

mount -t tmpfs -o mode=755 tmpfs /mnt
export TMPDIR=/mnt
echo 'nameserver 127.0.0.1' >/mnt/resolv.conf
mount --bind /mnt/resolv.conf /etc/resolv.conf
ip link set lo up
# Clients have this address, which has reverse DNS.
ip address add 2001:db8:1::25/128 dev lo
ulimit -n "$(ulimit -Hn)"
export PATH="$PATH:/usr/sbin:/sbin" PYTHONDONTWRITEBYTECODE=1
# Debian's Python, which has Debian's matplotlib.
exec /usr/bin/python3 "$(dirname "$0")/runner/bench.py" "$@"
