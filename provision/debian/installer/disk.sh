#!/bin/sh
# partman/early_command: the first disk that is no CD is the one to install to, whatever its bus.
set -eu
disk=$(list-devices disk | head -n 1)
if [ -z "$disk" ]; then
    logger -t provision "no disk found"
    exit 1
fi
debconf-set partman-auto/disk "$disk"
