#!/bin/sh
# Unpacks what this machine was installed without: documentation, man pages, translations. As root:
#
#   unminimize             of every package
#   unminimize PACKAGE...  of these; what is installed later still comes without
#   unminimize --list      only says which packages lack files
set -eu
rules=/etc/dpkg/dpkg.cfg.d/minimized
info=/var/lib/dpkg/info

die() {
    echo "unminimize: $1" >&2
    exit 1
}

# The packages, one a line, some of whose files below the folders that the rules name are not there.
lacking() {
    find "$info" -name '*.list' | while IFS= read -r list; do
        grep -E '^/usr/share/(doc|info|locale|man)/.' "$list" | while IFS= read -r file; do
            if [ ! -e "$file" ] && [ ! -L "$file" ]; then
                basename "$list" .list
                break
            fi
        done
    done
}

if [ "${1:-}" = --list ]; then
    lacking | sort
    exit
fi
[ "$(id -u)" = 0 ] || die "only root may: sudo unminimize $*"

# Out of apt's way, and back unless everything was unpacked.
kept=$rules.off
restore() {
    [ ! -e "$kept" ] || mv "$kept" "$rules"
}
trap restore EXIT
trap 'exit 130' INT TERM
[ ! -e "$rules" ] || mv "$rules" "$kept"
if [ $# -gt 0 ]; then
    packages=$*
else
    packages=$(lacking)
fi
if [ -n "$packages" ]; then
    apt-get -q update
    # shellcheck disable=SC2086 # one word each
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --reinstall $packages
fi
[ $# -gt 0 ] || rm -f "$kept"
