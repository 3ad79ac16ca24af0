#!/bin/bash
# Builds the Debian package on Debian 12 with rustup's toolchain; installs what
# that needs. The package is target/deb/sixgate_VERSION_ARCH.deb.
#
# The same sources give the same package, byte for byte, in whatever folder and
# on whatever day: see docs/release.md.
#
#     --quick            without link-time optimization and list of components:
#                        for tests
#     --version VERSION  as if it were that version: for tests of upgrades
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

quick=
version=
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=1; shift ;;
        --version) version=$2; shift 2 ;;
        *) echo "usage: $0 [--quick] [--version VERSION]" >&2; exit 64 ;;
    esac
done

needs="cc:gcc make:make dh:debhelper dpkg-buildpackage:dpkg-dev"
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
stage=$target/deb/build
arch=$(dpkg --print-architecture)

main() {
    install_needs
    export_what_makes_it_reproducible
    build_program
    write_papers
    build_package
}

export_what_makes_it_reproducible() {
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date_of_sources)}
    # Paths of this machine that would get into the program.
    local cargo_home=${CARGO_HOME:-$HOME/.cargo}
    local flags="--remap-path-prefix=$root=/sixgate --remap-path-prefix=$cargo_home=/cargo"
    RUSTFLAGS="${RUSTFLAGS:-} $flags"
    CFLAGS="${CFLAGS:-} -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$target=/target"
    export SOURCE_DATE_EPOCH RUSTFLAGS CFLAGS LC_ALL=C.UTF-8 TZ=UTC
    umask 022
}

# That of the last commit; without one that of the newest text.
date_of_sources() {
    git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md
}

build_program() {
    if [ -n "$quick" ]; then
        export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
        program=$target/deb/quick/release/sixgate
        cargo build --locked --release --target-dir "$target/deb/quick"
    else
        program=$target/deb/full/release/sixgate
        install_auditable
        PATH="$target/tools/bin:$PATH" \
            cargo auditable build --locked --release --target-dir "$target/deb/full"
    fi
}

# Has the program list its components, for scanners of vulnerabilities.
install_auditable() {
    [ -x "$target/tools/bin/cargo-auditable" ] ||
        env -u RUSTFLAGS -u CFLAGS cargo install --quiet --locked --root "$target/tools" cargo-auditable
}

# Manual pages, completions, copyright and changelog.
write_papers() {
    rm -rf "$stage"
    mkdir -p "$stage/stage"
    # With the flags of other builds, so that these need not be built again.
    env -u RUSTFLAGS -u CFLAGS \
        cargo run --quiet --locked --example generate -- "$stage/stage"
}

build_package() {
    local deb
    cp -r packaging/debian "$stage/debian"
    stage_sources
    stage_debian
    (cd "$stage" && dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes \
        --no-check-builddeps >build.log 2>&1) || { cat "$stage/build.log" >&2; exit 1; }
    deb=$(echo "$target"/deb/sixgate_*_"$arch".deb)
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
    # Lists in a folder of their own are read without being named.
    sed 's,^  files: \[\]$,  files: [/etc/sixgate/opt-in.d],' milter.yaml.example \
        >"$stage/stage/milter.yaml"
}

# What debhelper takes by its name.
stage_debian() {
    local debian=$stage/debian
    rm -f "$target"/deb/sixgate_*
    cp "$stage/stage/changelog" "$stage/stage/copyright" "$debian"
    if [ -n "$version" ]; then
        sed -i "1s/([^)]*)/($version)/" "$debian/changelog"
    fi
    cp packaging/systemd/sixgate.service "$debian/sixgate.service"
    cp packaging/systemd/sixgate.socket "$debian/sixgate.socket"
    cp packaging/systemd/sysusers.conf "$debian/sixgate.sysusers"
    cp packaging/systemd/tmpfiles.conf "$debian/sixgate.tmpfiles"
    cp packaging/logcheck/ignore "$debian/sixgate.logcheck.ignore.server"
}

main
