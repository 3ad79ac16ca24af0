#!/bin/bash
# Builds the container image of this tree in target/container, for tests/package. Its base
# is a Debian 13 from the machine's own package sources instead of an image from a
# registry.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="mmdebstrap:mmdebstrap buildah:buildah"
export STORAGE=$PWD/target/container/storage
export DEBIAN=localhost/debian:trixie-slim

make_base() {
    local tree container
    tree=target/container/debian.tar
    mkdir -p target/container
    as_root mmdebstrap --quiet --variant=minbase --include=ca-certificates,tzdata \
        trixie "$tree" </dev/null
    container=$(in_storage from scratch)
    in_storage add --quiet "$container" "$tree" /
    in_storage commit --quiet --rm "$container" "$DEBIAN"
    rm "$tree"
}

in_storage() {
    as_root buildah --root "$STORAGE/root" --runroot "$STORAGE/run" --storage-driver vfs "$@"
}

install_needs
packaging/build-deb.sh --quick
in_storage inspect --type image "$DEBIAN" >/dev/null 2>&1 || make_base
as_root env STORAGE="$STORAGE" DEBIAN="$DEBIAN" packaging/container/build-image.sh --quick
