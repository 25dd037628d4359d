#!/bin/sh
# Holds the file system still while the host keeps the machine's memory, so that the disk beside it is as whole as that
# of a machine that was powered off. Runs as root.
#
# Prints "frozen" once nothing is written any more. The file system moves again when the machine goes on as a copy,
# which the kernel says, or after a minute if nobody kept it.
set -eu
trap '' HUP PIPE

copies() {
    dmesg | grep -c 'virtual machine fork' || :
}

before=$(copies)
sync
fsfreeze --freeze /
trap 'fsfreeze --unfreeze /' EXIT
echo frozen
left=300
while [ "$(copies)" = "$before" ] && [ "$left" -gt 0 ]; do
    sleep 0.2
    left=$((left - 1))
done
