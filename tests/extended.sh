#!/bin/bash
# Runs the tests that tests/all.sh leaves out because they take minutes each. Run it before
# a release, and after changes to what it tests.
#
#   Debian 13        the package with Postfix and Sendmail, and piuparts, as tests/all.sh
#                    does on Debian 12
#   container        builds the image, and runs it beside a Postfix
#   APT repository   both releases install and upgrade from a signed repository
#   build            the package builds on Debian 13, and its lintian reports nothing
#   DMARC            OpenDMARC behind sixgate and behind OpenDKIM and pyspf-milter, and
#                    programs that read Authentication-Results fields
#   dialogues        all of tests/e2e once more with authentication_results.complete, with
#                    the same replies
#   checkout         packaging/install.sh installs from a clean clone
#   no features      the opt-in sources that remain without cargo's default features
#   milter clients   milter clients of other projects, with the offers of other MTAs
#   status page      in Chromium, with axe-core; its API under schemathesis
#   soak             long or large runs: limits, DNS faults, gigabytes of logs, lists of a
#                    million domains, a million senders to give_up_after
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh

# By the schema of the compose specification.
check_compose_example() {
    local tool=target/tools/check-jsonschema-0.39.0
    if [ ! -x "$tool/bin/check-jsonschema" ]; then
        python3 -m venv "$tool"
        "$tool/bin/pip" install --quiet check-jsonschema==0.39.0
    fi
    "$tool/bin/check-jsonschema" --builtin-schema vendor.compose-spec packaging/container/compose.yaml
}

# What reads the fields of tests/dmarc; Debian has no package of it.
install_mailauth() {
    local folder=target/tools/mailauth
    if [ ! -d "$folder/node_modules/mailauth" ]; then
        npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts mailauth@4.8.2
    fi
}

# For tests/status_browser.rs.
get_status_page_tools() {
    local python=target/tools/status-page axe=target/tools/axe-core
    if [ ! -x "$python/bin/schemathesis" ]; then
        python3 -m venv "$python"
        "$python/bin/pip" install --quiet schemathesis==4.32.5 selenium==4.51.0
    fi
    [ -f "$axe/node_modules/axe-core/axe.min.js" ] ||
        npm install --silent --no-audit --no-fund --prefix "$axe" axe-core@4.14.1
}

needs="$needs gpg:gpg reprepro:reprepro miltertest:miltertest go:golang-go
       chromium:chromium chromedriver:chromium-driver npm:npm
       node:nodejs opendmarc:opendmarc opendkim:opendkim pyspf-milter:pyspf-milter"
file_needs="$file_needs /usr/lib/python3*/ensurepip:python3-venv
            /usr/lib/python3/dist-packages/authres/__init__.py:python3-authres
            /usr/share/perl5/Mail/AuthenticationResults.pm:libmail-authenticationresults-perl
            /usr/share/gocode/src/github.com/emersion/go-milter:golang-github-emersion-go-milter-dev"
install_needs
check_compose_example
get_status_page_tools
install_mailauth
tests/make-debian.sh
tests/make-container.sh
tests/build-on-debian-13.sh
tests/milter_conformance/build-clients.sh
export SIXGATE_E2E_REQUIRED=1
cargo test --locked --test milter_conformance -- --ignored --nocapture
SIXGATE_E2E_COMPLETE=1 cargo test --locked --test e2e
cargo test --locked --no-default-features --test opt_in_fleet --test opt_in_remote
cargo test --locked --no-fail-fast --test package --test install --test handover --test limits \
    --test dns_faults --test opt_in --test report --test trace --test give_up --test exempt \
    --test status_browser --test dmarc \
    -- --ignored
