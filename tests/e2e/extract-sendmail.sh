#!/bin/sh
# Gets Debian's Sendmail and unpacks it beside the machine's mail system,
# without installing it: Postfix and Sendmail exclude each other as packages.
#
#     tests/e2e/extract-sendmail.sh [FOLDER]
#
# The test looks for it in target/sendmail, or where SIXGATE_SENDMAIL says.
set -eu

cd "$(dirname "$0")/../.."
folder=${1:-target/sendmail}
libraries="libdb5.3 libldap-2.5-0 liblockfile1 libnsl2 libtirpc3 libwrap0"

[ -x "$folder/usr/libexec/sendmail/sendmail" ] && exit 0

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
chmod 755 "$packages"
# shellcheck disable=SC2086
(cd "$packages" && apt-get download -q sendmail-bin sendmail-base sendmail-cf $libraries)
mkdir -p "$folder"
for package in "$packages"/*.deb; do
    dpkg -x "$package" "$folder"
done
# A program with this bit ignores LD_LIBRARY_PATH.
chmod g-s "$folder"/usr/libexec/sendmail/*
