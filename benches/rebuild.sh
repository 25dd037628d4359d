#!/usr/bin/env bash
# How long a clean machine takes, on this machine: of a login that has one, and of a login that is new here.
#
#   benches/rebuild.sh [PROGRAM]     in the folder of a project whose machine `create` has made, with the same
#                                    PROVISION_* variables; PROGRAM is `provision` unless given
#
# The machine of the project is made clean: what was written in it goes. That of the new login is removed again.
set -euo pipefail
program=${1:-provision}
login=b$(printf %x "$EPOCHSECONDS")

cleanup() { "$program" --quiet destroy --name "$login" --yes > /dev/null 2>&1 || true; }
trap cleanup EXIT

# until TEXT COMMAND...: the seconds until an event with this text in it, upon which the program is interrupted.
until_event() {
    local text=$1 start=$EPOCHREALTIME line pid
    shift
    coproc RUN { exec "$program" --json "$@" 2> /dev/null; }
    # Bash forgets both once the process has ended.
    pid=$RUN_PID
    exec 3<&"${RUN[0]}"
    while read -r line <&3; do
        if [[ $line == *"$text"* ]]; then
            awk -v from="$start" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'
            kill -INT "$pid" 2> /dev/null || true
            cat <&3 > /dev/null
            wait "$pid" || true
            exec 3<&-
            return
        fi
    done
    echo "error: \`provision $*\` ended before \"$text\": run it by hand" >&2
    return 1
}

processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
printf 'machine: %s, %s processors, %s\n' "${processor:-unknown}" "$(getconf _NPROCESSORS_ONLN)" "$(uname -sr)"
printf 'program: %s, %s\n' "$("$program" --version)" "$(qemu-system-x86_64 --version | head -n 1)"
printf 'date: %s, load %s\n' "$(date --utc +%FT%TZ)" "$(cut -d' ' -f1 /proc/loadavg)"
seconds=$(until_event '"event":"ready"' rebuild)
printf 'rebuild, until every check has passed: %s s\n' "$seconds"
# As LOGIN, SSH answers just before the project is copied.
seconds=$(until_event 'copying the project' rebuild --from account --login "$login" --name "$login")
printf 'rebuild --from account of a new login, until it answers on SSH: %s s\n' "$seconds"
