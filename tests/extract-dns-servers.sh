#!/bin/bash
# Downloads Debian's NSD, Knot, BIND and rbldnsd and unpacks them in target/dns-servers
# for the tests, without installing them: installed, they would serve port 53 of this
# machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh
. tests/unpack.sh

unpack target/dns-servers nsd rbldnsd knot bind9 bind9-utils
