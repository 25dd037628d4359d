#!/bin/sh
# Takes a machine in which a project was built back to how its account was made: without containers, volumes, networks and
# images, with nothing in LOGIN's home. Docker's build cache stays, so that another build does again only what has changed.
# Runs as root; comes by standard input.
#
#   undo.sh --login LOGIN --folder FOLDER
#
# FOLDER, the project's in LOGIN's home, was made before anything of the project ran: it tells what is the project's, and
# what was there before. Exit code 3: something else was changed, which this cannot take back; standard error says what.
set -eu

die() {
    echo "undo: error: $1" >&2
    exit "${2:-1}"
}

login='' folder=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1: unknown, or its value is missing"
    case $1 in
        --login) login=$2 ;;
        --folder) folder=$2 ;;
        *) die "$1: unknown option" ;;
    esac
    shift 2
done
home=/home/$login

# The seconds since 1970 at which a file was made; 0 where the file system does not know.
born() {
    stat --format %W -- "$1"
}

# What the project's `make` left running. What held the file system still while the memory was kept is among it, and must
# have let it go before: nothing can be written until then.
end_processes() {
    : > "$home/.undo"
    rm "$home/.undo"
    own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    for group in /sys/fs/cgroup/user.slice/user-*.slice/session-*.scope /sys/fs/cgroup/user.slice/user-*.slice/user@*.service/app.slice; do
        # A session may end by itself meanwhile.
        [ "$group" = "$own" ] || [ ! -e "$group/cgroup.kill" ] || echo 1 > "$group/cgroup.kill" || :
    done
}

# Asks the engine's API (docs.docker.com, "Docker Engine API"). Its client takes half a second for each start in an emulated guest.
#   engine METHOD PATH
engine() {
    curl --silent --show-error --fail --globoff --request "$1" --unix-socket /run/docker.sock "http://docker$2"
}

containers() {
    list=$(engine GET '/containers/json?all=true')
    printf '%s\n' "$list" | grep -o '"Id":"[0-9a-f]*"' | cut -d '"' -f 4
}

end_containers() {
    info=$(engine GET /info)
    case $info in
        *'"LocalNodeState":"inactive"'*) ;;
        *) die "its engine is part of a swarm" 3 ;;
    esac
    plugins=$(engine GET /plugins)
    [ "$plugins" = '[]' ] || die "its engine has plugins" 3
    for container in $(containers); do
        engine DELETE "/containers/$container?force=true&v=true" &
    done
    wait
    left=$(containers)
    [ -z "$left" ] || die "the engine still has the container $left"
}

prune() {
    engine POST '/volumes/prune?filters={"all":["true"]}' &&
        engine POST /networks/prune && engine POST '/images/prune?filters={"dangling":["false"]}'
}

# Names the last of what was changed, the deepest.
require_none() {
    [ -z "$1" ] || die "it changed $(echo "$1" | tail -n 1)" 3
}

clear_home() {
    if [ ! -d "$home/data" ] || [ -L "$home/data" ]; then
        die "it changed $home/data" 3
    fi
    rm -rf "${home:?}/$folder"
    find "$home/data" -mindepth 1 -delete
    # What is new goes with all in it; what is left of these was there before.
    changed=$(find "$home" -mindepth 1 ! -path "$home/data" -newerct "@$since" \
        \( -exec sh -c '[ "$(stat --format %W -- "$1")" -ge "$2" ]' sh {} "$since" \; -exec rm -rf {} \; -prune -o -print \))
    require_none "$changed"
    for file in /etc/skel/.[!.]* /etc/skel/*; do
        [ ! -e "$file" ] || [ -e "$home/${file##*/}" ] || die "it removed $home/${file##*/}" 3
    done
    [ -e "$home/.ssh/authorized_keys" ] || die "it removed $home/.ssh/authorized_keys" 3
    # As account.sh makes them.
    chown "$login:$login" "$home" "$home/data"
    chmod 755 "$home" "$home/data"
    find /tmp /var/tmp /dev/shm -mindepth 1 -newerct "@$since" ! -path '*/systemd-private-*' -delete
}

# The rest of the system must be as it was, but for what it writes by itself: logs, and what daily timers do when the clock
# says another day. Mounted file systems are named though none is entered.
require_untouched() {
    changed=$(find / -xdev \( -path "$home" -o -path /var/lib/docker -o -path /var/lib/containerd -o -path /etc/docker \
        -o -path /var/log -o -path /var/lib/systemd -o -path /var/lib/apt -o -path /var/lib/logrotate -o -path /var/cache \
        -o -path /var/backups -o -path /var/tmp -o -path /tmp -o -path /run -o -path /dev -o -path /proc -o -path /sys \) \
        -prune -o -newerct "@$since" -print)
    require_none "$changed"
    [ -z "$(ls -A /var/lib/systemd/linger 2> /dev/null)" ] || die "it has user services that run by themselves" 3
    # The engine was led to another mirror for a while: its configuration went and came back.
    [ -e /etc/docker/daemon.json ] || die "it removed /etc/docker/daemon.json" 3
    require_none "$(find /etc/docker/daemon.json -newermt "@$since")"
    require_none "$(find /etc/docker -mindepth 1 ! -path /etc/docker/daemon.json -newerct "@$since")"
}

[ -d "$home/$folder" ] || die "the project's folder is gone" 3
since=$(born "$home/$folder")
[ "$since" -gt 0 ] || die "its file system does not tell when a file was made" 3
end_processes
# First what may still write.
end_containers
prune > /dev/null &
pruning=$!
# It takes as long, and the engine's own folder is none of its.
require_untouched
wait "$pruning"
clear_home
# The host's file need not hold what is free in the guest's, which is so once it is written down.
sync
fstrim / || :
