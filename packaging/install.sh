#!/bin/bash
# Builds and installs sixgate on systems without a Debian package: the program, manual
# pages, completions, systemd units and an example configuration. An existing configuration
# is kept. Needs Rust; run it as root, or with DESTDIR.
#
#     PREFIX=/usr/local     folder of the program and its documentation
#     SYSCONFDIR=/etc       folder of the configuration and the units
#     DESTDIR=              a root that is packaged or copied elsewhere
#     --debug               build an unoptimized program, for tests
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
sysconfdir=${SYSCONFDIR:-/etc}
root=${DESTDIR:-}
case ${1:-} in
    "" | --debug) ;;
    *) echo "usage: $0 [--debug]" >&2; exit 64 ;;
esac
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT

main() {
    cargo install --path . --locked --force --no-track --root "$generated/built" "$@"
    cargo run --quiet --locked --example generate -- "$generated"
    install -D --mode=755 "$generated/built/bin/sixgate" "$root$prefix/sbin/sixgate"
    install_documentation
    install_units
    install_configuration
}

install_documentation() {
    local page
    for page in "$generated"/man/*; do
        install -D --mode=644 "$page" "$root$prefix/share/man/man${page##*.}/${page##*/}"
    done
    install -D --mode=644 "$generated/completions/sixgate.bash" \
        "$root$prefix/share/bash-completion/completions/sixgate"
    install -D --mode=644 "$generated/completions/_sixgate" \
        "$root$prefix/share/zsh/site-functions/_sixgate"
    install -D --mode=644 "$generated/completions/sixgate.fish" \
        "$root$prefix/share/fish/vendor_completions.d/sixgate.fish"
    mkdir -p "$root$prefix/share/doc/sixgate"
    cp -r README.md CHANGELOG.md docs milter.yaml.example packaging/prometheus \
        packaging/grafana packaging/sendmail "$root$prefix/share/doc/sixgate"
}

install_units() {
    local unit
    for unit in sixgate.service sixgate.socket; do
        mkdir -p "$root$sysconfdir/systemd/system"
        sed "s,/usr/sbin/sixgate,$prefix/sbin/sixgate,; s,/etc/sixgate,$sysconfdir/sixgate," \
            "packaging/systemd/$unit" >"$root$sysconfdir/systemd/system/$unit"
    done
    install -D --mode=644 packaging/systemd/sysusers.conf "$root$sysconfdir/sysusers.d/sixgate.conf"
    install -D --mode=644 packaging/systemd/tmpfiles.conf "$root$sysconfdir/tmpfiles.d/sixgate.conf"
}

# As in the Debian package, sixgate refuses nothing by default.
install_configuration() {
    local file=$root$sysconfdir/sixgate/milter.yaml
    mkdir -p "$root$sysconfdir/sixgate/opt-in.d"
    if [ ! -e "$file" ]; then
        sed 's/^mode: enforce$/mode: observe/' milter.yaml.example >"$file"
    fi
}

main "$@"
