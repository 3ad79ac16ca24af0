#!/bin/bash
# Runs the tests that tests/all.sh leaves out because they take minutes each. Run it before
# a release, and after changes to what it tests.
#
#   Debian 13        the package with Postfix and Sendmail, and piuparts, as tests/all.sh
#                    does on Debian 12
#   container        the image is built, and refuses and accepts mail beside a Postfix
#   APT repository   both releases install and upgrade from a signed one
#   checkout         packaging/install.sh installs from a clean clone
#   soak             long or big runs: limits, DNS faults, gigabytes of logs, lists of a
#                    million domains
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

needs="$needs gpg:gpg reprepro:reprepro python3:python3"
install_needs
tests/make-debian.sh
tests/make-container.sh
export SIXGATE_E2E_REQUIRED=1
cargo test --locked --no-fail-fast --test package --test install --test handover --test limits \
    --test dns_faults --test opt_in --test report --test trace -- --ignored
