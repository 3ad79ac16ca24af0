#!/bin/bash
# Builds the Debian package target/deb/sixgate_VERSION_ARCH.deb on Debian 12 or 13 with
# rustup's toolchain. Installs the packages that it needs.
#
# The build is reproducible: the same commit and toolchain result in the same bytes on any
# day and in any folder.
#
#     --quick    build an unoptimized program into target/deb/quick/, for tests
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
# debhelper writes the package next to its working folder.
out=$target/deb$quick
stage=$out/build
arch=$(dpkg --print-architecture)
auditable_version=0.7.7
auditable=$target/tools/cargo-auditable-$auditable_version
# mimalloc contains its compilation date.
undated='-Wno-builtin-macro-redefined -D__DATE__="" -D__TIME__=""'
# It would override RUSTFLAGS.
unset CARGO_ENCODED_RUSTFLAGS

main() {
    install_needs
    if [ -n "$quick" ]; then build_quickly; else build_program; fi
    build_generator
    # Not earlier: cargo rebuilds crates that were built with another date.
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date_of_sources)}
    export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
    umask 022
    generate_documents
    build_package
}

# The date of the last commit or, without git, of CHANGELOG.md.
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
    # The program must not contain paths of this machine.
    local cargo_home=${CARGO_HOME:-$HOME/.cargo}
    # The environment of "cargo auditable build --locked", except for the path of the
    # wrapper: cargo hashes it into the names of object files, which determine the order of
    # linking, so the build would depend on the folder.
    RUSTFLAGS="--remap-path-prefix=$root=/sixgate --remap-path-prefix=$cargo_home=/cargo" \
        CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$target=/target $undated" \
        PATH="$auditable/bin:$PATH" \
        RUSTC_WORKSPACE_WRAPPER=cargo-auditable \
        CARGO_AUDITABLE_ORIG_ARGS='{"offline":false,"locked":true,"frozen":false,"config":[]}' \
        cargo build --locked --release --target-dir "$target/deb"
}

# Embeds a list of components into the program, for vulnerability scanners. The version is
# fixed because it determines the format of the list.
install_auditable() {
    [ -x "$auditable/bin/cargo-auditable" ] ||
        cargo install --quiet --locked --root "$auditable" "cargo-auditable@$auditable_version"
}

build_generator() {
    cargo build --quiet --locked --target-dir "$target" --example generate
}

# Manual pages, completions, copyright and changelog.
generate_documents() {
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
    # In the package, alert rules and panels are examples.
    local extra
    for extra in prometheus grafana; do
        if [ -d "packaging/$extra" ]; then
            cp -r "packaging/$extra" "$stage/stage/source/packaging/examples/$extra"
        fi
    done
    install -m 755 "$program" "$stage/stage/sixgate"
    mv "$stage/stage/completions/sixgate.bash" "$stage/stage/completions/sixgate"
    # sixgate must not refuse mail before the administrator enables it.
    sed 's/^mode: enforce$/mode: observe/' milter.yaml.example >"$stage/stage/milter.yaml"
}

# Files that debhelper finds by their names.
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
