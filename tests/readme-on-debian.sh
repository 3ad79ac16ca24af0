#!/bin/bash
# Runs README's two commands on a fresh Debian, in a clean clone of the last commit, with
# the Rust toolchain and the crates of this machine. It takes half an hour and 15 GB.
#
#     tests/readme-on-debian.sh bookworm|trixie
#
# The system is target/readme/SUITE, which is created each time. It runs in its own
# namespaces on the kernel of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="mmdebstrap:mmdebstrap unshare:util-linux git:git"
file_needs=
suite=${1:?bookworm or trixie}
system=target/readme/$suite
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}

make_system() {
    as_root rm -rf "$system"
    mkdir -p target/readme
    # The packages that README names (Rust comes from this machine), and git.
    as_root mmdebstrap --quiet --variant=important --dpkgopt=force-unsafe-io \
        --include=ca-certificates,git "$suite" "$system" </dev/null
    as_root git clone --quiet --no-local . "$system/root/sixgate"
}

# Runs a command in the system, in the clone.
inside() {
    # shellcheck disable=SC2016
    as_root unshare --mount --pid --fork --kill-child sh -ec '
        system=$1
        # The tests create mount namespaces, for which the root has to be a mount point.
        mount --bind "$system" "$system"
        mkdir -p "$system/cargo" "$system/rustup" "$system/vectors"
        mount --bind "$2" "$system/cargo"
        mount --bind "$3" "$system/rustup"
        [ -z "$4" ] || mount --bind "$4" "$system/vectors"
        mount -t proc proc "$system/proc"
        mount --rbind /dev "$system/dev"
        mount --rbind /sys "$system/sys"
        mount -t tmpfs tmpfs "$system/run"
        cp /etc/resolv.conf "$system/etc/resolv.conf"
        vectors=${4:+SIXGATE_VECTORS=/vectors}
        shift 4
        # Not chroot, in which no user namespace can be made, as systemd does for the service.
        cd "$system"
        pivot_root . mnt
        umount --lazy /mnt
        exec env -i HOME=/root CARGO_HOME=/cargo RUSTUP_HOME=/rustup $vectors \
            PATH=/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd /root/sixgate && exec \"\$@\"" sh "$@"
    ' sh "$system" "$cargo_home" "$rustup_home" "${SIXGATE_VECTORS:-}" "$@"
}

install_needs
make_system
inside ./tests/demo.sh
inside ./tests/all.sh
