#!/bin/bash
# Gets Debian's Sendmail and unpacks it in target/sendmail for the tests, without
# installing it: as packages, Postfix and Sendmail exclude each other.
# Lists of packages are one word each.
# shellcheck disable=SC2046
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

folder=target/sendmail

# Libraries that Sendmail needs, or one of its libraries, and the machine lacks.
libraries() {
    local library
    for library in $(needed_by sendmail-bin) $(needed_by $(needed_by sendmail-bin)); do
        dpkg-query --show --showformat '${db:Status-Status}' "$library" 2>/dev/null |
            grep -qx installed || echo "$library"
    done | sort -u
}

needed_by() {
    apt-cache depends "$@" | sed -n 's/^[ |]*\(Pre\)\{0,1\}Depends: \(lib.*\)/\2/p'
}

download() {
    (cd "$1" && apt-get download -q sendmail-bin sendmail-base sendmail-cf $(libraries))
}

[ -e "$folder/complete" ] && exit 0
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
apt-cache show sendmail-bin >/dev/null 2>&1 || as_root apt-get update -q
download "$packages" || { as_root apt-get update -q && download "$packages"; }
mkdir -p "$folder"
for package in "$packages"/*.deb; do
    dpkg -x "$package" "$folder"
done
# A program with this bit ignores LD_LIBRARY_PATH.
chmod g-s "$folder"/usr/libexec/sendmail/*
touch "$folder/complete"
