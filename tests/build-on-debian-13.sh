#!/bin/bash
# Builds the package on Debian 13, with the toolchain and the crates of this machine, and
# has Debian 13's lintian look at it. The result is in target/debian-13-build.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="mmdebstrap:mmdebstrap systemd-nspawn:systemd-container"
file_needs=
system=target/debian-13-build/system
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}

make_system() {
    as_root rm -rf "$system"
    mkdir -p target/debian-13-build
    as_root mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
        --include=gcc,libc6-dev,make,debhelper,dpkg-dev,git,lintian trixie "$system" </dev/null
    as_root touch "$system/complete"
}

inside() {
    as_root systemd-nspawn --quiet --register=no --keep-unit --pipe --directory="$system" \
        --bind="$PWD:/sources" --chdir=/sources \
        --bind="$cargo_home:/cargo" --setenv=CARGO_HOME=/cargo \
        --bind="$rustup_home:/rustup" --setenv=RUSTUP_HOME=/rustup \
        --setenv=CARGO_TARGET_DIR=/sources/target/debian-13-build \
        --setenv=PATH=/cargo/bin:/usr/sbin:/usr/bin "$@"
}

install_needs
[ -e "$system/complete" ] || make_system
inside git config --global --add safe.directory /sources
inside packaging/build-deb.sh --quick
inside sh -c 'lintian --fail-on=error,warning target/debian-13-build/deb/quick/*.deb'
