#!/bin/bash
# Installs the tools that the documentation uses, for tests/docs_commands. promtool is
# only unpacked, in target/prometheus: in Debian 12 it is part of the package prometheus,
# which would start the server.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh
. tests/unpack.sh

needs="dig:bind9-dnsutils git:git jq:jq rsync:rsync sqlite3:sqlite3
       journalctl:systemd systemd-analyze:systemd"
install_needs
apt-cache show prometheus >/dev/null 2>&1 || as_root apt-get update -q
if apt-cache show promtool >/dev/null 2>&1; then
    unpack target/prometheus promtool
else
    unpack target/prometheus prometheus
fi
