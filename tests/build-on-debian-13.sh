#!/bin/bash
# Builds the package on Debian 13 with the toolchain and the crates of this machine, and
# checks it with Debian 13's lintian. The result is in target/debian-13-build.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="mmdebstrap:mmdebstrap unshare:util-linux"
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

# Runs a command in the system, with the sources and Rust as they are on this machine.
inside() {
    # shellcheck disable=SC2016
    as_root unshare --mount sh -ec '
        system=$1
        mkdir -p "$system/sources" "$system/cargo" "$system/rustup"
        mount --bind "$PWD" "$system/sources"
        mount --bind "$2" "$system/cargo"
        mount --bind "$3" "$system/rustup"
        mount -t proc proc "$system/proc"
        mount --rbind /dev "$system/dev"
        shift 3
        exec chroot "$system" env -i HOME=/root CARGO_HOME=/cargo RUSTUP_HOME=/rustup \
            CARGO_TARGET_DIR=/sources/target/debian-13-build \
            PATH=/cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd /sources && exec \"\$@\"" sh "$@"
    ' sh "$system" "$cargo_home" "$rustup_home" "$@"
}

install_needs
[ -e "$system/complete" ] || make_system
inside git config --global --add safe.directory /sources
inside packaging/build-deb.sh --quick
inside sh -c 'lintian --fail-on=error,warning target/debian-13-build/deb/quick/*.deb'
