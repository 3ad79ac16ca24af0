#!/bin/bash
# Builds the package of this tree, and creates a clean Debian 12 and 13 with Postfix in
# target/debian-12 and target/debian-13 from the machine's own package sources, for
# tests/package. srv/sendmail in each has the packages of Sendmail, which conflict with
# Postfix.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="mmdebstrap:mmdebstrap systemd-nspawn:systemd-container dpkg-deb:dpkg
       piuparts:piuparts"

# systemd and Postfix as on a user's machine; fail2ban reads the log.
include=systemd-sysv,postfix,fail2ban

# make_debian RELEASE SUITE
make_debian() {
    local folder=target/debian-$1
    [ -e "$folder/complete" ] && return
    as_root rm -rf "$folder"
    mkdir -p target
    # The system need not survive a power failure, so dpkg need not call fsync. shellcheck
    # disable=SC2016
    as_root mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
        --include="$include" \
        --customize-hook='chroot "$1" apt-get clean' \
        --customize-hook='chroot "$1" apt-get install -q -y --no-install-recommends \
            --download-only sendmail-bin sendmail-base sendmail-cf postfix-' \
        --customize-hook='mkdir "$1/srv/sendmail" &&
            mv "$1"/var/cache/apt/archives/*.deb "$1/srv/sendmail"' \
        "$2" "$folder" </dev/null
    as_root touch "$folder/complete"
}

install_needs
make_debian 12 bookworm
make_debian 13 trixie
packaging/build-deb.sh --quick
