#!/bin/bash
# Makes a clean Debian 12 with Postfix in target/debian, of the machine's own
# package sources, and the package of this tree, for tests/package.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="mmdebstrap:mmdebstrap systemd-nspawn:systemd-container dpkg-deb:dpkg
       piuparts:piuparts"
folder=target/debian

# systemd and Postfix as the package finds them; fail2ban reads the log.
include=systemd-sysv,postfix,fail2ban

make_debian() {
    rm -rf "$folder"
    mkdir -p target
    # Nothing of it is to survive a power failure.
    as_root mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
        --include="$include" bookworm "$folder" </dev/null
    as_root touch "$folder/complete"
}

install_needs
[ -e "$folder/complete" ] || make_debian
packaging/build-deb.sh --quick
