#!/bin/sh
# Makes the one account of this machine and hands the machine over to it: after this LOGIN logs in by
# key and becomes root by sudo, and root's own SSH is closed. Runs as root; may be run again.
#
#   account.sh --login LOGIN --hostname NAME < TAR
#
# Secrets come in a tar archive on standard input:
#   password-hash          LOGIN's password as crypt(5) writes it, one line
#   authorized_keys        LOGIN's SSH keys
#   ssh_host_ed25519_key   the private key by which this machine is known from now on
set -eu
umask 022

say() {
    echo "account: $1"
}

die() {
    echo "account: error: $1" >&2
    exit 1
}

login='' name=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1: unknown, or its value is missing"
    case $1 in
        --login) login=$2 ;;
        --hostname) name=$2 ;;
        *) die "$1: unknown option" ;;
    esac
    shift 2
done
case $login in
    '' | [!a-z_]* | *[!a-z0-9_-]*) die "--login: not the name of a Linux user: '$login'" ;;
esac
[ ${#login} -le 32 ] || die "--login: longer than 32 characters: '$login'"
case $name in
    '' | [!a-zA-Z0-9]* | *[!a-zA-Z0-9-]* | *-) die "--hostname: not a host name: '$name'" ;;
esac
[ ${#name} -le 63 ] || die "--hostname: longer than 63 characters: '$name'"
getent group docker > /dev/null || die "there is no group docker: install Docker first"

# On a file system in memory, so that nothing of it stays on the disk.
secrets=$(mktemp -d /run/account.XXXXXX)
trap 'rm -rf "$secrets"' EXIT
tar -x -f - -C "$secrets" --no-same-owner
for file in password-hash authorized_keys ssh_host_ed25519_key; do
    [ -s "$secrets/$file" ] || die "standard input: no $file in the archive"
done
chmod 600 "$secrets"/*

# Accounts of people have numbers from 1000 on; those below, and 65534, belong to the system.
make_user() {
    if uid=$(id -u "$login" 2> /dev/null); then
        if [ "$uid" -lt 1000 ] || [ "$uid" -ge 60000 ]; then
            die "the login '$login' is a system account of this Debian: choose another"
        fi
    elif getent group "$login" > /dev/null; then
        die "the login '$login' is the name of a system group of this Debian: choose another"
    else
        useradd --create-home --user-group --shell /bin/bash "$login"
    fi
    usermod --append --groups docker,sudo "$login"
    # printf is the shell's own: the hash is in no process's arguments.
    printf '%s:%s\n' "$login" "$(head -n 1 "$secrets/password-hash")" | chpasswd --encrypted
    home=/home/$login
    chmod 755 "$home"
    install -d -o "$login" -g "$login" -m 755 "$home/data"
    install -d -o "$login" -g "$login" -m 700 "$home/.ssh"
    install -o "$login" -g "$login" -m 600 "$secrets/authorized_keys" "$home/.ssh/authorized_keys"
}

allow_sudo() {
    echo "$login ALL=(ALL:ALL) NOPASSWD: ALL" > "$secrets/sudoers"
    visudo --quiet --check --file="$secrets/sudoers"
    install -m 440 "$secrets/sudoers" /etc/sudoers.d/provision
}

name_machine() {
    echo "$name" > /etc/hostname
    hostname "$name"
    sed -i -e '/^127\.0\.1\.1[[:space:]]/d' -e '/[[:space:]][a-z0-9_-]*\.42\.fr$/d' /etc/hosts
    printf '127.0.1.1\t%s\n127.0.0.1\t%s\n' "$name" "$login.42.fr" >> /etc/hosts
}

hand_over() {
    rm -f /etc/ssh/ssh_host_*
    install -m 600 "$secrets/ssh_host_ed25519_key" /etc/ssh/ssh_host_ed25519_key
    ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub
    sed -i 's/^PermitRootLogin .*/PermitRootLogin no/' /etc/ssh/sshd_config.d/provision.conf
    rm -f /root/.ssh/authorized_keys
    sshd -t
}

say "user $login"
make_user
allow_sudo
say "host name $name, $login.42.fr"
name_machine
say "SSH: $login by key, root closed"
hand_over
say "ready"
# Sessions go on through a reload, this one too.
systemctl reload ssh
