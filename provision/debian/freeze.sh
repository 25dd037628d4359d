#!/bin/sh
# Holds the file system still while the host keeps the machine's memory, so that the disk beside it is as whole as that
# of a machine that was powered off. Runs as root; comes by standard input.
#
#   touched=KIB     before it: what of its memory this machine has ever touched, as the host sees it
#
# Prints "frozen" once nothing is written any more. The file system moves again when the machine goes on as a copy,
# which the kernel says, or after a minute if nobody kept it.
set -eu
touched=${touched:-}
trap '' HUP PIPE

# What is left to the guest while its free memory is cleared, in KiB.
RESERVE=262144
# Is there once nobody waits for this any more.
THAW=/run/provision-thaw

copies() {
    dmesg | grep -c 'virtual machine fork' || :
}

memory() { # NAME: KiB
    sed -n "s/^$1: *\([0-9]*\) kB\$/\1/p" /proc/meminfo
}

# What programs and files left in memory that is free now would be kept with it. Zeros take no place. What was never
# touched is zero and may stay the host's.
clear_free() {
    echo 3 > /proc/sys/vm/drop_caches
    free=$(memory MemFree)
    left=$((free - RESERVE))
    if [ -n "$touched" ]; then
        unused=$((touched - ($(memory MemTotal) - free)))
        [ "$unused" -ge "$left" ] || left=$unused
    fi
    [ "$left" -gt 0 ] || return 0
    # Rather this than what the machine is for, should memory run short. Without huge pages (41 is PR_SET_THP_DISABLE,
    # prctl(2)) the kernel gives away the smallest free blocks first: those were touched, the rest is in one piece yet.
    sh -c 'echo 1000 > /proc/self/oom_score_adj &&
        exec perl -e "syscall(157, 41, 1, 0, 0, 0); vec(my \$zeros, \$ARGV[0] * 1024 - 1, 8) = 0" "$1"' sh "$left"
}

main() {
    rm -f $THAW
    before=$(copies)
    sync
    clear_free || :
    sync
    [ ! -e $THAW ] || exit 1
    # A shell that a signal ends runs no trap for EXIT.
    trap 'exit 143' INT TERM
    trap 'fsfreeze --unfreeze /' EXIT
    fsfreeze --freeze /
    echo frozen
    left=300
    while [ "$(copies)" = "$before" ] && [ "$left" -gt 0 ]; do
        sleep 0.2
        left=$((left - 1))
    done
}

# Read to its end before anything stands still.
main
