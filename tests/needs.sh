# Installs the packages that the tests and the demonstration need on Debian and Ubuntu, if
# they are missing. Sourced by other scripts.

# command:package
needs="cc:gcc make:make git:git unshare:util-linux ip:iproute2 openssl:openssl
       postfix:postfix postsrsd:postsrsd saslpasswd2:sasl2-bin m4:m4 python3:python3 valgrind:valgrind
       man:man-db mandoc:mandoc xz:xz-utils zstd:zstd sqlite3:sqlite3
       psql:postgresql-client mariadbd:mariadb-server-core mariadb:mariadb-client-core
       redis-server:redis-server redis-cli:redis-tools"

# pattern:package, for what is not a command in the path. Debian keeps the programs of a
# PostgreSQL server out of it; libplain is AUTH PLAIN; libfaketime is for a clock that jumps
# (tests/exempt.rs); doctor distinguishes public CAs from a site's own.
file_needs="/usr/lib/*/crtn.o:libc6-dev
            /usr/lib/postgresql/*/bin/initdb:postgresql
            /usr/lib/*/sasl2/libplain.so:libsasl2-modules
            /usr/lib/*/faketime/libfaketimeMT.so.1:libfaketime
            /usr/share/ca-certificates/mozilla:ca-certificates"

# Database servers are needed as programs only: the tests start servers of their own
# (tests/support/database.rs, tests/support/redis.rs), each in a temporary folder and on
# ports of 127.0.0.1.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing_packages() {
    local need
    for need in $needs; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%:*}" >/dev/null || echo "${need#*:}"
    done
    # The patterns are for compgen.
    set -f
    for need in $file_needs; do
        compgen -G "${need%%:*}" >/dev/null || echo "${need#*:}"
    done
    set +f
}

install_packages() {
    # Postfix is wanted as programs only: with no configuration it does not
    # start, and the tests never touch the machine's own.
    echo 'postfix postfix/main_mailer_type select No configuration' |
        as_root debconf-set-selections
    as_root apt-get update -q
    # Where another mail server is installed it must not be removed for this.
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends --no-remove "$@"
}

install_needs() {
    local packages
    packages=$(missing_packages)
    if [ -n "$packages" ]; then
        # One word a package.
        # shellcheck disable=SC2086
        install_packages $packages </dev/null
    fi
    if ! command -v cargo >/dev/null; then
        echo "cargo is missing: install Rust 1.95 or newer, see https://rustup.rs" >&2
        exit 69
    fi
}

# Users other than root run the part that needs root through sudo.
if [ "$(id -u)" -ne 0 ]; then
    export SIXGATE_E2E_SUDO=1
fi
