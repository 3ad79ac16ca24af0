#!/bin/bash
# Creates a Debian 13 in target/mail-servers/trixie for tests/e2e, which runs its Postfix
# and its Sendmail there in a chroot. Sendmail is unpacked in opt/sendmail, because the
# packages conflict.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="mmdebstrap:mmdebstrap"
root=target/mail-servers/trixie

make_root() {
    as_root rm -rf "$root"
    mkdir -p "$(dirname "$root")"
    # The system need not survive a power failure. shellcheck disable=SC2016
    as_root mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
        --include=postfix,libsasl2-modules \
        --customize-hook='chroot "$1" apt-get install -q -y --no-install-recommends \
            --download-only sendmail-bin sendmail-base sendmail-cf postfix-' \
        --customize-hook='for package in "$1"/var/cache/apt/archives/sendmail*.deb \
            "$1"/var/cache/apt/archives/lib*.deb; do
            dpkg -x "$package" "$1/opt/sendmail"
        done' \
        trixie "$root" </dev/null
    # A program with this bit ignores LD_LIBRARY_PATH.
    as_root find "$root/opt/sendmail" -perm -2000 -type f -exec chmod g-s {} +
    as_root touch "$root/complete"
}

install_needs
[ -e "$root/complete" ] || make_root
