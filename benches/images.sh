#!/usr/bin/env bash
# What a guest's images take of the project stage: the base images pulled by the engine, and streamed in by the host; the
# project's own built by compose, one before the others that depend on it, and side by side.
#
#   benches/images.sh [PROGRAM]     in the folder of a project whose machine `create` has made, with the same
#                                   PROVISION_* variables; PROGRAM is `provision` unless given
#
# Containers and images go for it, which `provision reset` brings back at the end.
set -euo pipefail
program=${1:-provision}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

guest() { "$program" --quiet exec -- "$@"; }

# row WHAT COMMAND...: the seconds that it took; what it prints is shown only if it fails.
row() {
    local what=$1 start=$EPOCHREALTIME
    shift
    if ! "$@" > "$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        return 1
    fi
    awk -v what="$what" -v from="$start" -v to="$EPOCHREALTIME" 'BEGIN { printf "| %s | %.1f |\n", what, to - from }'
}

# BuildKit's cache alone: the base images stay.
forget() { guest docker builder prune --all --force > /dev/null; }
# In the project's folder, with what its own Makefile would say.
# shellcheck disable=SC2016 # the guest's shell expands it
prologue='set -eu; cd ~/inception/srcs; export LOGIN="$(id -un)" RUN_AS="$(id -u):$(id -g)"; '
by_compose() { guest sh -c "${prologue}docker-compose --file docker-compose.yml build"; }
# Without what services depend on, after which compose would build them.
side_by_side() {
    # shellcheck disable=SC2016 # the guest's shell expands it
    guest sh -c "$prologue"'override=$(mktemp)
        { echo services:; docker-compose --file docker-compose.yml config --services | sed "s/.*/  &: {depends_on: !reset {}}/"; } > "$override"
        docker-compose --file docker-compose.yml --file "$override" build'
}
# The base images of the project's Dockerfiles, each once.
bases() {
    # shellcheck disable=SC2016 # the guest's awk reads it
    guest sh -c 'cd ~/inception/srcs && find . -name Dockerfile -exec awk "toupper(\$1) == \"FROM\" && !(\$2 in stage) { print \$2 }
        toupper(\$3) == \"AS\" { stage[\$4] = 1 }" "{}" ";" | sort -u'
}
pull() { guest docker pull --quiet "$1"; }
# Its whole archive lies on the host already, as if the host had fetched it while the guest did something else.
load() { guest docker load < "$work/image"; }

processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
printf '%s, %s CPUs (%s), %s, %s, load %s\n\n' "$(date --utc +%F)" "$(nproc)" "${processor:-unknown}" \
    "$(qemu-system-x86_64 --version | head -n 1)" "$("$program" --version)" "$(cut -d' ' -f1 /proc/loadavg)"
printf '| in the guest | seconds |\n|---|---|\n'
# shellcheck disable=SC2016 # the guest's shell expands it
guest sh -c 'docker rm --force --volumes $(docker ps --all --quiet) && docker system prune --all --force' > /dev/null
images=$(bases)
for base in $images; do
    row "$base pulled by the engine" pull "$base"
    guest docker save "$base" > "$work/image"
    guest docker image rm --force "$base" > /dev/null
    row "the same streamed in by the host, $(($(stat -c %s "$work/image") / 1048576)) MiB" load
done
row 'images built by compose, one before those that depend on it, the base images being there' by_compose
forget
row 'the same built side by side' side_by_side
"$program" --quiet reset > /dev/null
