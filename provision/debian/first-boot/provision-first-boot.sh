#!/bin/sh
# Gives a sealed machine what its image leaves out: host keys of its own, and the keys of who runs it. Runs as root and
# may find its work done; what it is told counts each time.
#
#   provision-first-boot               at every boot, before the SSH server starts
#   provision-first-boot keys DEVICE   when a disk with the label PROVISION appears
#
# Keys come in one of two ways, both from outside of the guest:
#   a system credential of systemd     provision.authorized-keys, provision.host-key, provision.password-hash
#   a disk with the label PROVISION    authorized_keys on it (KubeVirt makes one of a secret)
set -eu
umask 077

etc=/etc/provision
given=/run/credentials/@system
mount=/run/provision-keys
user=$(cat $etc/login)

say() {
    echo "provision: $1"
}

# authorize FILE: adds the keys in FILE to those of the user.
authorize() {
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

if [ "${1:-}" = keys ]; then
    mkdir -p $mount
    mount -o ro,nosuid,nodev,noexec "$2" $mount
    trap 'umount $mount' EXIT
    if [ -s $mount/authorized_keys ]; then
        authorize $mount/authorized_keys
    fi
    sync
    exit
fi

if [ -s $given/provision.authorized-keys ]; then
    authorize $given/provision.authorized-keys
fi
if [ -s $given/provision.password-hash ]; then
    # printf is the shell's own: the hash is in no process's arguments.
    printf '%s:%s\n' "$user" "$(head -n 1 $given/provision.password-hash)" | chpasswd --encrypted
fi
if [ -s $given/provision.host-key ] && ! cmp -s $given/provision.host-key /etc/ssh/ssh_host_ed25519_key; then
    rm -f /etc/ssh/ssh_host_*
    install -m 600 $given/provision.host-key /etc/ssh/ssh_host_ed25519_key
    ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub
    chmod 644 /etc/ssh/ssh_host_ed25519_key.pub
    say "the host key is the given one"
fi
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
