#!/bin/bash
# Unpacks Debian's docker-proxy in target/docker-proxy for the tests, without installing
# Docker.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

folder=target/docker-proxy
[ -x "$folder/usr/sbin/docker-proxy" ] && exit
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
download() { (cd "$packages" && apt-get download -q docker.io); }
download || { as_root apt-get update -q && download; }
mkdir -p "$folder"
dpkg-deb --fsys-tarfile "$packages"/docker.io_*.deb |
    tar -x -C "$folder" --wildcards './usr/*bin/docker-proxy'
# Debian 13 may have it in another folder.
test -x "$folder/usr/sbin/docker-proxy" ||
    { mkdir -p "$folder/usr/sbin" && mv "$folder/usr/bin/docker-proxy" "$folder/usr/sbin/"; }
