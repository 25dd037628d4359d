#!/bin/sh
# How long it takes to come back to a kept moment: prints a Markdown table, with this machine and the date.
#
#   benches/moments.sh [PROVISION]
#
# PROVISION is the program (default: target/release/provision); the machine is the one that `create` made, as
# PROVISION_NAME or the current folder's provision.toml tells. What was changed in it since its `create` is lost.
# Each figure is the least, the median and the greatest of RUNS (default 5) runs, in seconds from the command's start.
set -eu

provision=${1:-$(dirname "$0")/../target/release/provision}
runs=${RUNS:-5}
snapshot=bench-$$
work=$(mktemp -d)

finish() {
    "$provision" --quiet snapshot rm "$snapshot" > /dev/null 2>&1 || :
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

field() { # NAME: a member of `status`
    "$provision" --json status | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

now() {
    date +%s.%N
}

since() { # START
    echo "$(now) $1" | awk '{ printf "%.2f\n", $1 - $2 }'
}

# Each run's figure is a line in FILE.
row() { # WHAT FILE
    sort -n "$work/$2" | awk -v what="$1" '
        { value[NR] = $1 }
        END { printf "| %s | %.1f | %.1f | %.1f |\n", what, value[1], value[int((NR + 1) / 2)], value[NR] }'
}

# From outside, as a user would see it: OpenSSH's client logs in, curl gets a page.
ssh_answers() {
    until "$provision" --quiet ssh -- true < /dev/null > /dev/null 2>&1; do
        sleep 0.05
    done
}

site_answers() {
    until curl --silent --fail --insecure --location --output /dev/null --max-time 30 \
        --resolve "$domain:$port:127.0.0.1" "https://$domain:$port/"; do
        sleep 0.05
    done
}

# The site is asked while the command still works; SSH once it says that the guest answers.
timed() { # NAME COMMAND...
    name=$1
    shift
    start=$(now)
    "$provision" --json "$@" > "$work/events" &
    command=$!
    until grep -q 'SSH answers\|"event":"ready"' "$work/events" || ! kill -0 "$command" 2> /dev/null; do
        sleep 0.02
    done
    since "$start" >> "$work/$name-ssh"
    site_answers
    since "$start" >> "$work/$name-site"
    wait "$command"
    since "$start" >> "$work/$name"
}

login=$(field login)
port=$(field https_port)
domain=$login.42.fr
ssh_answers

for _ in $(seq "$runs"); do
    timed reset reset
    start=$(now)
    "$provision" --quiet snapshot "$snapshot"
    since "$start" >> "$work/snapshot"
    timed restore restore "$snapshot"
    "$provision" --quiet snapshot rm "$snapshot"
done

processor=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
memory=$(field memory_mib)
accelerator=$(field accelerator)
echo "$(date +%F), $(nproc) CPUs ($processor), $("${QEMU:-qemu-system-x86_64}" --version | head -n 1), $accelerator, guest with $(field cpus) CPUs and $memory MiB, $runs runs"
echo
echo "| seconds until | least | median | most |"
echo "|---|---|---|---|"
row "\`reset\`: SSH answers" reset-ssh
row "\`reset\`: the site answers" reset-site
row "\`snapshot\` has ended" snapshot
row "\`restore\`: SSH answers" restore-ssh
row "\`restore\`: the site answers" restore-site
