#!/bin/bash
# Builds the container image from the Debian package in target/deb, and writes it to
# target/container/sixgate_VERSION_ARCH.image.tar. Needs buildah and root.
#
# The same package and base image always result in the same layers.
#
#     --quick        use the unoptimized package in target/deb/quick, for tests
#     DEBIAN=IMAGE   use a base image other than debian:trixie-slim
#     STORAGE=DIR    where buildah keeps images (its own default)
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=target/deb
case ${1:-} in
    "") ;;
    --quick) packages=target/deb/quick ;;
    *) echo "usage: $0 [--quick]" >&2; exit 64 ;;
esac

package=$(echo "$packages"/sixgate_*.deb)
if [ ! -e "$package" ]; then
    echo "there is no package in $packages: run packaging/build-deb.sh ${1:-} first" >&2
    exit 66
fi
# As in packaging/build-deb.sh.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
out=target/container/$(basename "$package" .deb).image.tar
buildah=(buildah)
if [ -n "${STORAGE:-}" ]; then
    buildah+=(--root "$STORAGE/root" --runroot "$STORAGE/run" --storage-driver vfs)
fi

mkdir -p target/container
rm -f "$out"
# Only the docker format supports a health check; OCI images do not.
"${buildah[@]}" build --quiet --format docker --isolation chroot --network host --layers=false \
    --timestamp "$SOURCE_DATE_EPOCH" --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" \
    ${DEBIAN:+--build-arg "DEBIAN=$DEBIAN"} \
    --file packaging/container/Containerfile --tag sixgate "$packages" >/dev/null
"${buildah[@]}" push --quiet sixgate "docker-archive:$out:sixgate:latest"
echo "$out"
