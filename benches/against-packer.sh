#!/usr/bin/env bash
# The same job by Packer and by `provision`, one after the other on this machine: from the same ISO to the same project's
# answering site, with the same accelerator, CPUs and memory.
#
#   benches/against-packer.sh PROGRAM ISO PROJECT [REGISTRY]
#
# PROGRAM is `provision`, ISO a Debian 13 installer, PROJECT a folder with Makefile and srcs/, REGISTRY a mirror of Docker Hub
# as guests reach it (http://10.0.2.2:PORT). Debian's packages come from apt's own mirror, or DEBIAN_MIRROR. Packer is Debian's (`apt-get install packer`). Everything is kept in a temporary
# folder and removed. Needs two quiet CPUs and some 45 minutes.
#
# Packer gets what its documentation offers for speed without a screen: `headless`, `disk_cache` "unsafe", discard and
# detection of zeroes, virtio for disk and network, keys typed without pauses (`boot_key_interval`), no compaction of the
# image, and a preseed that leaves out what is not needed. It has no checkpoints: a changed file means its whole time again.
set -euo pipefail
program=$(realpath "$1") iso=$(realpath "$2") project=$(realpath "$3") registry=${4:-}
here=$(realpath "$(dirname "$0")")
cpus=2 memory=4096 accelerator=${ACCELERATOR:-tcg} login=bench
work=$(mktemp -d "${TMPDIR:-/tmp}/against-packer.XXXXXX")
pid=

# Everything that the tools start names a path below $work.
ours() { pgrep -f "$work" || true; }

finish() {
    local left
    [[ -z $pid ]] || kill -INT "$pid" 2> /dev/null || true
    left=$(ours)
    # shellcheck disable=SC2086 # a list of numbers
    [[ -z $left ]] || kill $left 2> /dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# The memory of the tool and of all that it started, in KiB; QEMU's is its guest's as far as that was touched.
resident() {
    local each
    for each in $({ echo "$pid" && ours; } | sort -u); do
        sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$each/status" 2> /dev/null || true
    done | awk '{ sum += $1 } END { print sum + 0 }'
}

# measure NAME COMMAND...: runs it; NAME.seconds and NAME.peak (KiB) are left in $work.
measure() {
    local name=$1 start=$EPOCHREALTIME peak=0 now
    shift
    "$@" > "$work/$name.log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2> /dev/null; do
        now=$(resident)
        [[ $now -le $peak ]] || peak=$now
        sleep 1
    done
    if ! wait "$pid"; then
        tail -n 40 "$work/$name.log" >&2
        echo "error: $name failed" >&2
        exit 1
    fi
    pid=
    awk -v from="$start" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.0f\n", to - from }' > "$work/$name.seconds"
    echo "$peak" > "$work/$name.peak"
}

template() {
    cat << EOF
{
  "builders": [{
    "type": "qemu", "vm_name": "disk.qcow2", "output_directory": "$work/packer-output", "format": "qcow2",
    "iso_url": "file://$iso", "iso_checksum": "sha512:$sum",
    "accelerator": "$accelerator", "cpus": $cpus, "memory": $memory, "disk_size": "20G",
    "disk_interface": "virtio", "net_device": "virtio-net", "disk_cache": "unsafe", "disk_discard": "unmap",
    "disk_detect_zeroes": "unmap", "skip_compaction": true, "headless": true,
    "qemuargs": [["-cpu", "$cpu"]],
    "http_directory": "$work/http", "boot_wait": "3s", "boot_key_interval": "10ms",
    "boot_command": ["<esc><wait1s>install auto=true priority=critical DEBIAN_FRONTEND=noninteractive fb=false ",
                     "preseed/url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg --- quiet<enter>"],
    "ssh_username": "root", "ssh_password": "packer", "ssh_timeout": "2h", "shutdown_command": "poweroff"
  }],
  "provisioners": [
    { "type": "file", "source": "$work/project.tar", "destination": "/root/project.tar" },
    { "type": "shell", "script": "$here/packer/setup.sh", "environment_vars": ["LOGIN=$login", "MIRROR=$registry"] }
  ]
}
EOF
}

# The installer looks at the mirror, even if it installs from the medium alone.
preseed() {
    local rest=${mirror#http://}
    sed -e "s|@HOST@|${rest%%/*}|; s|@FOLDER@|${rest#*/}|" "$here/packer/preseed.cfg"
}

by_packer() {
    mkdir "$work/http"
    preseed > "$work/http/preseed.cfg"
    template > "$work/packer.json"
    (
        cd "$work"
        # CHECKPOINT_DISABLE: it asks nobody for newer versions.
        export PACKER_CACHE_DIR=$work/packer-cache PACKER_NO_COLOR=1 CHECKPOINT_DISABLE=1 HOME=$work
        measure packer packer build "$work/packer.json"
    )
    stat -c '%b %B' "$work/packer-output/disk.qcow2" | awk '{ print $1 * $2 }' > "$work/packer.bytes"
}

settings() {
    cat << EOF
login = "$login"
[machine]
cpus = $cpus
memory = "${memory}M"
[iso]
path = "$iso"
sha512 = "$sum"
EOF
    printf '[network]\ndebian_mirror = "%s"\n' "$mirror"
    [[ -z $registry ]] || printf '[docker]\nregistry_mirror = "%s"\n' "$registry"
}

create() {
    (
        cd "$work/project"
        export PROVISION_CACHE_DIR=$work/cache PROVISION_DATA_DIR=$work/data
        measure "$1" "$program" --json create --accelerator "$accelerator"
    )
}

by_provision() {
    settings > "$work/project/provision.toml"
    create provision
    du --block-size=1 --summarize "$work/cache/v1/layers" "$work/data" | awk '{ sum += $1 } END { print sum }' > "$work/provision.bytes"
    printf '# changed\n' >> "$work/project/srcs/docker-compose.yml"
    create changed
}

value() { cat "$work/$1"; }
ratio() { awk -v of="$(value "$1.seconds")" -v to="$(value packer.seconds)" 'BEGIN { printf "%.2f", of / to }'; }
mib() { awk '{ printf "%.0f", $1 / 1048576 }' "$work/$1.bytes"; }
peak() { awk '{ printf "%.0f", $1 / 1024 }' "$work/$1.peak"; }

mirror=$("$here/../tests/support/mirror")
sum=$(sha512sum "$iso" | cut -d' ' -f1)
case $accelerator in tcg) cpu=qemu64 ;; *) cpu=host ;; esac
mkdir -p "$work/project"
cp -a "$project/Makefile" "$project/srcs" "$work/project/"
tar -c -f "$work/project.tar" -C "$work/project" .

processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
printf '%s, %s CPUs (%s), %s, %s, Packer %s, %s, guests with %s CPUs and %s MiB, load before %s\n\n' "$(date --utc +%F)" "$(nproc)" \
    "${processor:-unknown}" "$(qemu-system-x86_64 --version | head -n 1)" "$accelerator" "$(packer version | sed -n '1s/.*v//p')" \
    "$("$program" --version)" "$cpus" "$memory" "$(cut -d' ' -f1 /proc/loadavg)"
by_packer
by_provision
printf '| | seconds | of Packer'\''s | disk, MiB | peak memory, MiB |\n|---|---|---|---|---|\n'
printf '| Packer, to the image of a machine whose site answered | %s | 1 | %s | %s |\n' \
    "$(value packer.seconds)" "$(mib packer)" "$(peak packer)"
printf "| \`create\`, to a running machine, every check passed | %s | %s | %s | %s |\n" \
    "$(value provision.seconds)" "$(ratio provision)" "$(mib provision)" "$(peak provision)"
printf "| \`create\` after a change in \`srcs/\` | %s | %s | | %s |\n" "$(value changed.seconds)" "$(ratio changed)" "$(peak changed)"
