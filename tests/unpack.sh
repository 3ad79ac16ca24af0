# Downloads Debian packages and unpacks them without installing them: no service starts,
# and conflicting packages can be used side by side. Sourced by other scripts, after
# tests/needs.sh. Lists of packages are one word each. shellcheck disable=SC2046

# unpack FOLDER PACKAGE...: unpacks packages and the libraries that the machine lacks.
# Does nothing if the same packages were unpacked there before.
unpack() {
    local folder=$1 packages package
    shift
    [ -e "$folder/complete" ] && [ "$(cat "$folder/complete")" = "$*" ] && return
    packages=$(mktemp -d)
    apt-cache show "$@" >/dev/null 2>&1 || as_root apt-get update -q
    download "$packages" "$@" || { as_root apt-get update -q && download "$packages" "$@"; }
    mkdir -p "$folder"
    for package in "$packages"/*.deb; do
        dpkg -x "$package" "$folder"
    done
    rm -rf "$packages"
    # A program with this bit ignores LD_LIBRARY_PATH.
    find "$folder" -perm -2000 -type f -exec chmod g-s {} +
    echo "$*" >"$folder/complete"
}

download() {
    local folder=$1
    shift
    (cd "$folder" && apt-get download -q "$@" $(libraries "$@"))
}

# Libraries that the packages, or one of their libraries, need.
libraries() {
    local library
    for library in $(needed_by "$@") $(needed_by $(needed_by "$@")); do
        dpkg-query --show --showformat '${db:Status-Status}' "$library" 2>/dev/null |
            grep -qx installed || echo "$library"
    done | sort -u
}

needed_by() {
    apt-cache depends "$@" | sed -n 's/^[ |]*\(Pre\)\{0,1\}Depends: \(lib.*\|bind9-libs\)$/\2/p'
}
