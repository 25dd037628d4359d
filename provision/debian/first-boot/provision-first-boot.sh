#!/bin/sh
# Gives a sealed machine what its image leaves out: host keys of its own, and the keys of who runs it. Runs as root and
# may find its work done; what it is told counts each time.
#
#   provision-first-boot               at every boot, before the SSH server starts
#   provision-first-boot keys DEVICE   when a disk with the label PROVISION appears
#
# Keys come in one of two ways, both from outside of the guest:
#   system credentials of systemd      provision.authorized-keys, provision.host-key, provision.password-hash
#   a disk with the label PROVISION    the files authorized_keys (KubeVirt makes one of a secret), host_key, password_hash
set -eu
umask 077

etc=/etc/provision
given=/run/credentials/@system
mounts=/run/provision-keys
user=$(cat $etc/login)

say() {
    echo "provision: $1"
}

# authorize FILE: adds the keys in FILE to those of the user.
authorize() {
    [ -s "$1" ] || return 0
    home=$(getent passwd "$user" | cut -d: -f6)
    group=$(id -gn "$user")
    keys=$home/.ssh/authorized_keys
    install -d -o "$user" -g "$group" -m 700 "$home/.ssh"
    [ -e "$keys" ] || install -o "$user" -g "$group" -m 600 /dev/null "$keys"
    while IFS= read -r key || [ -n "$key" ]; do
        case $key in '' | '#'*) continue ;; esac
        grep -qxF -e "$key" "$keys" && continue
        printf '%s\n' "$key" >> "$keys"
        say "$user may log in with the key ${key##* }"
    done < "$1"
}

# set_password FILE: sets the user's password to the hash in FILE.
set_password() {
    [ -s "$1" ] || return 0
    # printf is the shell's own: the hash is in no process's arguments.
    printf '%s:%s\n' "$user" "$(head -n 1 "$1")" | chpasswd --encrypted
}

# set_host_key FILE: makes the key in FILE the only host key, and notes whether it was another.
is_new=no
set_host_key() {
    [ -s "$1" ] || return 0
    ! cmp -s "$1" /etc/ssh/ssh_host_ed25519_key || return 0
    rm -f /etc/ssh/ssh_host_*
    install -m 600 "$1" /etc/ssh/ssh_host_ed25519_key
    ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub
    chmod 644 /etc/ssh/ssh_host_ed25519_key.pub
    is_new=yes
    say "the host key is the given one"
}

# A disk may appear while the first boot is at it.
exec 9> /run/provision-first-boot.lock
flock 9

if [ "${1:-}" = keys ]; then
    # Its files may be everybody's to read on such a disk, but nobody comes through this folder.
    mount=$mounts/disk
    mkdir -p $mount
    mount -o ro,nosuid,nodev,noexec "$2" $mount
    trap 'umount $mount' EXIT
    authorize $mount/authorized_keys
    set_password $mount/password_hash
    set_host_key $mount/host_key
    if [ $is_new = yes ]; then
        # A server that runs, or starts at this moment, has read the former.
        systemctl --no-block try-reload-or-restart ssh.service
    fi
    sync
    exit
fi

authorize $given/provision.authorized-keys
set_password $given/provision.password-hash
set_host_key $given/provision.host-key
found=no
for key in /etc/ssh/ssh_host_*_key; do
    [ ! -s "$key" ] || found=yes
done
if [ $found = no ]; then
    # What a lost power left of one, too.
    rm -f /etc/ssh/ssh_host_*
    ssh-keygen -A > /dev/null
    say "new host keys are made"
fi
# A power cut after the first log-in must not take them away again.
sync
