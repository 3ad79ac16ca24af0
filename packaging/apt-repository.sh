#!/bin/bash
# Adds packages to a signed APT repository for Debian 12 and 13, and creates it if it does
# not exist. Installs reprepro if it is missing.
#
#     packaging/apt-repository.sh FOLDER KEY PACKAGE.deb...
#
# KEY is the ID or fingerprint of an OpenPGP key in gpg's keyring. Publish FOLDER/dists,
# FOLDER/pool and FOLDER/sixgate.asc with any HTTP server; the other files are reprepro's.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 FOLDER KEY PACKAGE.deb..." >&2
    exit 64
fi
. "$(dirname "$0")/../tests/needs.sh"

needs="reprepro:reprepro gpg:gpg"
file_needs=
folder=$1
key=$2
shift 2

write_configuration() {
    local suite
    for suite in bookworm trixie; do
        cat <<END
Origin: sixgate
Label: sixgate
Codename: $suite
Architectures: amd64 arm64
Components: main
Description: sixgate for Debian $suite
SignWith: $key

END
    done
}

packages=$(missing_packages)
if [ -n "$packages" ]; then
    # Each word is a package.
    # shellcheck disable=SC2086
    install_packages $packages
fi
mkdir -p "$folder/conf"
write_configuration >"$folder/conf/distributions"
for suite in bookworm trixie; do
    reprepro --silent --basedir "$folder" includedeb "$suite" "$@"
done
gpg --batch --yes --armor --output "$folder/sixgate.asc" --export "$key"
