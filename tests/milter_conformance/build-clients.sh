#!/bin/bash
# Makes the clients that are not ours, in target/tools/milter-clients. Debian has miltertest
# and go-milter (packages miltertest, golang-go, golang-github-emersion-go-milter-dev); the
# others come from PyPI and crates.io, in the versions that are named here and in Cargo.lock.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/target/tools/milter-clients
clients=$PWD/tests/milter_conformance/clients
mkdir -p "$tools"

GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$tools/go-cache \
    go build -o "$tools/go-milter-client" "$clients/go/main.go"

if [ ! -x "$tools/python/bin/python" ]; then
    python3 -m venv "$tools/python"
fi
"$tools/python/bin/pip" install --quiet miltertest==1.0.0 kilter.protocol==0.6.0

CARGO_TARGET_DIR=$tools/rust cargo build --locked --quiet --manifest-path "$clients/rust/Cargo.toml"
