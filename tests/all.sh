#!/bin/bash
# Installs what the tests need and runs all of them. Ends with cargo's summary.
#
# The public SPF and DKIM test vectors are read from the folder SIXGATE_VECTORS; without
# it those tests are reported as ignored.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

install_needs
tests/extract-sendmail.sh
tests/extract-dns-servers.sh
tests/extract-docker-proxy.sh
tests/get-documented-tools.sh
tests/make-debian.sh
tests/make-mail-servers.sh
# Everything is installed, so no test may be skipped.
export SIXGATE_E2E_REQUIRED=1
# The tests mostly wait for timeouts and servers, so more of them run than there are cores.
export RUST_TEST_THREADS=4
# rustdoc takes half a minute to find out that there are none.
if grep -rq '^ *//[/!] ```' src; then
    cargo test --locked --doc
fi
# The program with the fewest dependencies. Two more are in tests/extended.sh; the other
# tests are the same for both.
cargo test --locked --no-default-features --lib --test config --test docs_in_step \
    --test opt_in --test opt_in_command
log=target/all-tests.log
if ! cargo test --locked --lib --bins --tests --examples --no-fail-fast 2>&1 | tee "$log"; then
    # Repeats the failures, which are thousands of lines back, and cargo's summary.
    sed -n '/^failures:$/,/^test result/p' "$log"
    sed -n '/^error: .* failed:$/,$p' "$log"
    exit 1
fi
