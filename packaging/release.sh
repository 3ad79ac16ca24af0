#!/bin/bash
# Builds the files of a release in target/release-artifacts: the Debian package, the
# container image, an SBOM (CycloneDX), checksums and, with a key, a signed APT repository.
#
#     packaging/release.sh [--quick] [KEY]
#
#     KEY        the OpenPGP key that signs the repository and the checksums
#     --quick    use an unoptimized program, for tests
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

quick=
if [ "${1:-}" = --quick ]; then
    quick=$1
    shift
fi
key=${1:-}
out=target/release-artifacts
cyclonedx_version=0.5.9
cyclonedx=target/tools/cargo-cyclonedx-$cyclonedx_version

needs="buildah:buildah zstd:zstd"
file_needs=
install_needs

rm -rf "$out"
mkdir -p "$out"
package=$(packaging/build-deb.sh $quick)
cp "$package" "$out"
image=$(as_root env STORAGE="${STORAGE:-}" DEBIAN="${DEBIAN:-}" packaging/container/build-image.sh $quick)
zstd --quiet -19 "$image" -o "$out/$(basename "$image").zst"

# The SBOM lists the dependencies of the program on this platform, without those of tests.
[ -x "$cyclonedx/bin/cargo-cyclonedx" ] ||
    cargo install --quiet --locked --root "$cyclonedx" "cargo-cyclonedx@$cyclonedx_version"
name=$(basename "$package" .deb).cdx
PATH="$cyclonedx/bin:$PATH" SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
    cargo cyclonedx --quiet --format json --override-filename "$name" \
    --target "$(rustc --print host-tuple)"
mv "$name.json" "$out"

(cd "$out" && sha256sum -- * >SHA256SUMS)
if [ -n "$key" ]; then
    gpg --batch --yes --armor --local-user "$key" --detach-sign "$out/SHA256SUMS"
    packaging/apt-repository.sh "$out/apt" "$key" "$out"/*.deb
fi
ls "$out"
