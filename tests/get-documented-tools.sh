#!/bin/bash
# Installs the tools that the documentation uses, for tests/docs_commands. promtool is
# only unpacked, in target/prometheus: its package would start a Prometheus.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh
. tests/unpack.sh

needs="dig:bind9-dnsutils git:git jq:jq rsync:rsync sqlite3:sqlite3
       journalctl:systemd systemd-analyze:systemd"
install_needs
unpack target/prometheus prometheus
