#!/usr/bin/env bash
# What a guest's image builds take of the project stage: side by side, as compose builds them, and one after another; and
# the base images pulled by the engine, and streamed in by the host.
#
#   benches/images.sh [PROGRAM]     in the folder of a project whose machine `create` has made, with the same
#                                   PROVISION_* variables; PROGRAM is `provision` unless given
#
# What the engine has built and pulled is thrown away before each; the site goes on from its containers.
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

# shellcheck disable=SC2016 # the guest's shell expands it
compose='set -eu; cd ~/inception; export LOGIN="$(id -un)" RUN_AS="$(id -u):$(id -g)"; compose=docker-compose
    ! docker compose version > /dev/null 2>&1 || compose="docker compose"; compose="$compose -f srcs/docker-compose.yml"; '
# BuildKit's cache alone is emptied: the images stay, and with them the site.
forget() { guest docker builder prune --all --force > /dev/null; }
# shellcheck disable=SC2016 # the guest's shell expands it
together() { guest sh -c "$compose"'$compose build'; }
# shellcheck disable=SC2016 # the guest's shell expands it
one_by_one() { guest sh -c "$compose"'for each in $($compose config --services); do $compose build "$each"; done'; }
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
forget
row 'all images built, side by side' together
forget
row 'all images built, one after another' one_by_one
images=$(bases)
for base in $images; do
    guest docker image rm --force "$base" > /dev/null 2>&1 || true
    row "$base pulled by the engine" pull "$base"
    guest docker save "$base" > "$work/image"
    guest docker image rm --force "$base" > /dev/null
    row "the same streamed in by the host, $(($(stat -c %s "$work/image") / 1048576)) MiB" load
    guest docker image rm --force "$base" > /dev/null
done
