#!/bin/bash
# Shows each rule in a real SMTP dialogue: installs what that needs, builds, and
# starts a name server, a private Postfix and sixgate in a network of their own,
# which is gone when this ends, also after ^C.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

install_needs
cargo test --locked --quiet --test e2e -- demo
