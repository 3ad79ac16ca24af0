#!/bin/bash
# Builds the Debian package on Debian 12 or 13 with rustup's toolchain; installs what
# that needs. The package is target/deb/sixgate_VERSION_ARCH.deb.
#
# Of one commit and one toolchain it is the same octet for octet on whatever day
# and in whatever folder it is built.
#
#     --quick    as target/deb/quick/..., of an unoptimized program: for tests
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

quick=
case ${1:-} in
    "") ;;
    --quick) quick=/quick ;;
    *) echo "usage: $0 [--quick]" >&2; exit 64 ;;
esac

needs="cc:gcc make:make dh:debhelper dpkg-buildpackage:dpkg-dev"
file_needs=
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
# debhelper puts the package beside the folder that it works in.
out=$target/deb$quick
stage=$out/build
arch=$(dpkg --print-architecture)
auditable_version=0.7.7
auditable=$target/tools/cargo-auditable-$auditable_version
# mimalloc tells when it was compiled.
undated='-Wno-builtin-macro-redefined -D__DATE__="" -D__TIME__=""'
# It would stand in for RUSTFLAGS.
unset CARGO_ENCODED_RUSTFLAGS

main() {
    install_needs
    if [ -n "$quick" ]; then build_quickly; else build_program; fi
    build_generator
    # Not before: cargo builds anew what has seen another date.
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date_of_sources)}
    export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
    umask 022
    write_papers
    build_package
}

# That of the last commit; without one that of the newest text.
date_of_sources() {
    git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md
}

build_quickly() {
    program=$target/debug/sixgate
    cargo build --quiet --locked --target-dir "$target"
}

build_program() {
    program=$target/deb/release/sixgate
    install_auditable
    # Paths of this machine must not get into the program.
    local cargo_home=${CARGO_HOME:-$HOME/.cargo}
    # What "cargo auditable build --locked" sets, but for the wrapper's path, which
    # would be the folder's: cargo hashes it into the names of the program's parts,
    # and these are linked in the order of their names.
    RUSTFLAGS="--remap-path-prefix=$root=/sixgate --remap-path-prefix=$cargo_home=/cargo" \
        CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$target=/target $undated" \
        PATH="$auditable/bin:$PATH" \
        RUSTC_WORKSPACE_WRAPPER=cargo-auditable \
        CARGO_AUDITABLE_ORIG_ARGS='{"offline":false,"locked":true,"frozen":false,"config":[]}' \
        cargo build --locked --release --target-dir "$target/deb"
}

# Has the program list its components, for scanners of vulnerabilities. The list is
# in the words of this version.
install_auditable() {
    [ -x "$auditable/bin/cargo-auditable" ] ||
        cargo install --quiet --locked --root "$auditable" "cargo-auditable@$auditable_version"
}

build_generator() {
    cargo build --quiet --locked --target-dir "$target" --example generate
}

# Manual pages, completions, copyright and changelog.
write_papers() {
    rm -rf "$stage"
    mkdir -p "$stage/stage"
    "$target/debug/examples/generate" "$stage/stage"
}

build_package() {
    local deb
    cp -r packaging/debian "$stage/debian"
    stage_sources
    stage_debian
    (cd "$stage" && dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes \
        --no-check-builddeps >build.log 2>&1) || { cat "$stage/build.log" >&2; exit 1; }
    deb=$(echo "$out"/sixgate_*_"$arch".deb)
    echo "${deb#"$root"/}"
}

stage_sources() {
    mkdir "$stage/stage/source"
    cp -r README.md docs milter.yaml.example packaging "$stage/stage/source"
    # Where there are rules and panels they are examples.
    local extra
    for extra in prometheus grafana; do
        if [ -d "packaging/$extra" ]; then
            cp -r "packaging/$extra" "$stage/stage/source/packaging/examples/$extra"
        fi
    done
    install -m 755 "$program" "$stage/stage/sixgate"
    mv "$stage/stage/completions/sixgate.bash" "$stage/stage/completions/sixgate"
    # Installing and attaching sixgate must not refuse mail before the administrator has
    # decided so.
    sed 's/^mode: enforce$/mode: observe/' milter.yaml.example >"$stage/stage/milter.yaml"
}

# What debhelper takes by its name.
stage_debian() {
    local debian=$stage/debian
    rm -f "$out"/sixgate_*
    cp "$stage/stage/changelog" "$stage/stage/copyright" "$debian"
    cp packaging/systemd/sixgate.service "$debian/sixgate.service"
    cp packaging/systemd/sixgate.socket "$debian/sixgate.socket"
    cp packaging/systemd/sysusers.conf "$debian/sixgate.sysusers"
    cp packaging/systemd/tmpfiles.conf "$debian/sixgate.tmpfiles"
    cp packaging/logcheck/ignore "$debian/sixgate.logcheck.ignore.server"
}

main
