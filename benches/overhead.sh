#!/usr/bin/env bash
# What the tool itself costs, beside its guests: how long `plan` and `status` take, how fast it hashes, and how much memory
# it needs while it downloads an ISO and installs from it.
#
#   benches/overhead.sh PROGRAM ISO     in the folder of a project whose machine `create` has made, with the same
#                                       PROVISION_* variables
#
# ISO is a Debian installer; it is served on 127.0.0.1, downloaded into an empty cache and an installation is begun, which
# is interrupted. The project's machine is not touched.
set -euo pipefail
program=$(realpath "$1") iso=$(realpath "$2")
runs=${RUNS:-20}
work=$(mktemp -d)
server=

finish() {
    [[ -z $server ]] || kill "$server" 2> /dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# median WHAT COMMAND...: milliseconds of the middle one of RUNS runs, the disk's cache being warm.
median() {
    local what=$1 start end
    shift
    "$@" > /dev/null 2>&1
    for _ in $(seq "$runs"); do
        start=$EPOCHREALTIME
        "$@" > /dev/null 2>&1
        end=$EPOCHREALTIME
        awk -v from="$start" -v to="$end" 'BEGIN { printf "%.1f\n", (to - from) * 1000 }'
    done | sort -n | awk -v what="$what" '
        { value[NR] = $1 }
        END { printf "| %s | %.0f | %.0f | %.0f |\n", what, value[1], value[int((NR + 1) / 2)], value[NR] }'
}

# The fields of the second `media` and of what follows, of a run in a project of its own with an empty cache.
prepare() {
    mkdir -p "$work/project/srcs" "$work/served"
    printf 'all:\n' > "$work/project/Makefile"
    ln "$iso" "$work/served/installer.iso" 2> /dev/null || cp "$iso" "$work/served/installer.iso"
    sum=$(sha512sum "$iso" | cut -d' ' -f1)
    python3 -u -m http.server --bind 127.0.0.1 --directory "$work/served" 0 > "$work/server" 2>&1 &
    server=$!
    until grep -q 'port [0-9]' "$work/server"; do
        kill -0 "$server"
        sleep 0.05
    done
    port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$work/server" | head -n 1)
    cat > "$work/project/provision.toml" << EOF
login = "bench"

[iso]
url = "http://127.0.0.1:$port/installer.iso"
sha512 = "$sum"
EOF
}

# until_installing NAME: runs `create` until the installer is at work; the events are in NAME.events, the greatest memory
# of the tool itself in KiB (proc(5), VmHWM) in NAME.peak.
until_installing() {
    local name=$1 pid
    (
        cd "$work/project"
        export PROVISION_CACHE_DIR=$work/cache PROVISION_DATA_DIR=$work/data
        exec "$program" --json create --name bench
    ) > "$work/$name.events" 2>&1 &
    pid=$!
    until grep -q '"event":"progress".*"stage":"install"' "$work/$name.events" || ! kill -0 "$pid" 2> /dev/null; do
        sleep 0.1
    done
    sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$pid/status" > "$work/$name.peak" || {
        cat "$work/$name.events" >&2
        exit 1
    }
    kill -INT "$pid"
    wait "$pid" || true
}

media_seconds() { # NAME
    sed -n 's/.*"event":"stage_done","stage":"media","seconds":\([0-9.]*\).*/\1/p' "$work/$1.events"
}

processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
printf '%s, %s CPUs (%s), %s, load %s\n\n' "$(date --utc +%F)" "$(nproc)" "${processor:-unknown}" "$("$program" --version)" \
    "$(cut -d' ' -f1 /proc/loadavg)"
printf '| milliseconds of | least | median | most |\n|---|---|---|---|\n'
median "\`plan\`" "$program" plan
median "\`status\`" "$program" status

prepare
# Twice, the file being in the host's memory: what counts is the second.
for _ in 1 2; do
    start=$EPOCHREALTIME
    sha512sum "$iso" > /dev/null
    end=$EPOCHREALTIME
done
until_installing download
until_installing cached
mib=$(awk -v bytes="$(stat -c %s "$iso")" 'BEGIN { print bytes / 1048576 }')
printf '\n| an ISO of %.0f MiB | seconds | MiB/s |\n|---|---|---|\n' "$mib"
row() { # WHAT SECONDS
    awk -v what="$1" -v seconds="$2" -v mib="$mib" 'BEGIN { printf "| %s | %.2f | %.0f |\n", what, seconds, mib / seconds }'
}
row 'sha512sum' "$(awk -v from="$start" -v to="$end" 'BEGIN { print to - from }')"
row 'hashed from the cache' "$(media_seconds cached)"
row 'downloaded from 127.0.0.1, hashed and synced' "$(media_seconds download)"
printf '\nThe greatest memory of the tool itself, in MiB: %s while it downloaded and began to install, %s with the ISO cached\n' \
    "$(awk '{ printf "%.0f", $1 / 1024 }' "$work/download.peak")" "$(awk '{ printf "%.0f", $1 / 1024 }' "$work/cached.peak")"
