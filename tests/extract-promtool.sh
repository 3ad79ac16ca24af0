#!/bin/bash
# Gets Debian's promtool and unpacks it in target/prometheus for the tests, without
# installing it: its package would start a Prometheus.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh
. tests/unpack.sh

unpack target/prometheus prometheus
