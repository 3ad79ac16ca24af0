#!/bin/bash
# Compares sixgate with other milters and rewrites docs/benchmarks.md, which describes the
# measurement. Needs root for a network namespace.
#
# tests/bench/run.sh [--quick] [--parts compare,growth,profile,postfix,complete] [--only NAME,...]
#                    [--peers NAME,...] [--repeat N] [--seconds S] [--list]
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/needs.sh

# command:package
needs="cc:gcc make:make ip:iproute2 unshare:util-linux taskset:util-linux
       python3:python3 unbound:unbound postfix:postfix smtp-source:postfix
       perf:linux-perf opendkim:opendkim rspamd:rspamd pyspf-milter:pyspf-milter"
peers=target/bench/peers

install_debian() {
    local packages
    packages=$(PATH="$PATH:/usr/sbin" missing_packages | grep -v sasl || true)
    /usr/bin/python3 -c 'import matplotlib' 2>/dev/null || packages="$packages python3-matplotlib"
    if [ -n "${packages// /}" ]; then
        # Each word is a package. shellcheck disable=SC2086
        install_packages $packages
    fi
}

install_crate() {
    [ -x "$peers/bin/$1" ] ||
        cargo install --root "$peers" --target-dir "$peers/build" "$1" --version "$2"
}

install_debian
if [[ " $* " != *" --parts complete "* ]]; then
    install_crate spf-milter 0.7.0-alpha.1
    install_crate dkim-milter 0.2.0-alpha.1
fi
[ -n "${SIXGATE:-}" ] || cargo build --release --locked
cargo build --release --locked --manifest-path tests/bench/Cargo.toml --target-dir target/bench/build

# The kernel kills all processes with the namespace, even after an error.
exec unshare --net --mount --pid --mount-proc --fork --kill-child tests/bench/inside.sh "$@"
