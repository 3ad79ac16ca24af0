#!/bin/bash
# Shows each rule in a real SMTP dialogue: installs the required packages, builds, and
# starts a name server, a private Postfix and sixgate in a network namespace that ends
# with this script, also after ^C.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

install_needs
cargo test --locked --quiet --test e2e -- demo
