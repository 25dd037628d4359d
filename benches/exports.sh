#!/usr/bin/env bash
# What each format of `provision export` takes: size, time, and a look at whether it opens and holds the same disk.
#
#   benches/exports.sh PROGRAM [EXPORT'S FLAGS]     in the folder of a project whose machine `create` has made
#
# The machine is stopped, and stays so. Images are made in a temporary folder, one after the other.
set -euo pipefail
program=$(realpath "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
printf '%s, %s CPUs (%s), %s, load %s\n\n' "$(date --utc +%F)" "$(nproc)" "${processor:-unknown}" "$("$program" --version)" \
    "$(cut -d' ' -f1 /proc/loadavg)"
"$program" --quiet stop > /dev/null 2>&1 || true
printf '| format | MiB | seconds |\n|---|---|---|\n'
for format in qcow2 raw vdi vmdk vhdx ova containerdisk; do
    file=$work/image
    [[ $format != ova ]] || file=$work/image.ova
    told=$("$program" --json export --format "$format" --output "$file" "$@" | tail -n 1)
    size=$(sed -n 's/.*"bytes":\([0-9]*\).*/\1/p' <<< "$told")
    seconds=$(sed -n 's/.*"seconds":\([0-9.]*\).*/\1/p' <<< "$told")
    awk -v format="$format" -v size="$size" -v seconds="$seconds" \
        'BEGIN { printf "| %s | %.0f | %.0f |\n", format, size / 1048576, seconds }'
    case $format in
        qcow2) mv "$file" "$work/first" ;;
        raw | vdi | vmdk | vhdx) qemu-img compare -q -f "$format" -F qcow2 "$file" "$work/first" ;;
    esac
    rm -rf "$work"/image*
done
