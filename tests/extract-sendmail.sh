#!/bin/bash
# Downloads Debian's Sendmail and unpacks it in target/sendmail for the tests, without
# installing it: the packages of Postfix and Sendmail conflict.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/needs.sh
. tests/unpack.sh

unpack target/sendmail sendmail-bin sendmail-base sendmail-cf
