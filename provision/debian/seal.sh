#!/bin/sh
# Makes this machine fit to hand out, just before its disk is exported: nothing by which its maker gets in, nothing that
# two machines must not share, nothing that only takes space; and it boots on other hardware. Runs as root; the machine
# is powered off after it.
#
#   seal.sh FOLDER [LOGIN]
#
# FOLDER, on a file system in memory, holds:
#   tool-key                        the public key by which the maker's tool logs in
#   password-hash                   LOGIN's new password as crypt(5) writes it, one line
#   provision-first-boot.sh         what gives a machine keys of its own
#   provision-first-boot.service    when
#   provision-keys@.service, 90-provision.rules     and when a disk with keys appears
# Without LOGIN there is no user yet, and root is meant.
set -eu
umask 022
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

folder=$1 login=${2:-}

say() {
    echo "seal: $1"
}

die() {
    echo "seal: error: $1" >&2
    exit 1
}

for file in tool-key provision-first-boot.sh provision-first-boot.service provision-keys@.service 90-provision.rules; do
    [ -s "$folder/$file" ] || die "no $file in $folder"
done

# Containers start again at boot: it is not they who were stopped but the engine.
stop_services() {
    for unit in docker.socket docker.service containerd.service cron.service unattended-upgrades.service \
        apt-daily.timer apt-daily-upgrade.timer; do
        if systemctl --quiet is-active "$unit"; then
            systemctl stop "$unit"
        fi
    done
}

# What of the disks of other virtual machines is not in the initramfs yet is put there.
boot_anywhere() {
    missing=''
    for module in virtio_pci virtio_blk virtio_scsi sd_mod ahci ata_piix nvme mptspi vmw_pvscsi hv_storvsc xen_blkfront; do
        grep -qx "$module" /etc/initramfs-tools/modules || missing="$missing $module"
    done
    if [ -n "$missing" ]; then
        say "initramfs:$missing"
        # shellcheck disable=SC2086 # one line each
        printf '%s\n' $missing >> /etc/initramfs-tools/modules
        update-initramfs -u -k all
    fi
}

# A loader for UEFI, where the disk has the partition for it.
boot_by_uefi() {
    if ! grep -q '[[:space:]]/boot/efi[[:space:]]' /etc/fstab; then
        say "no EFI system partition: the image boots by BIOS only"
        return
    fi
    mountpoint -q /boot/efi || mount /boot/efi
    if [ ! -e /boot/efi/EFI/BOOT/BOOTX64.EFI ]; then
        say "boot loader for UEFI"
        if [ ! -d /usr/lib/grub/x86_64-efi ]; then
            apt-get -q update
            apt-get -q -y install --no-install-recommends grub-efi-amd64-bin
        fi
        partition=$(findmnt -n -o SOURCE /boot/efi)
        number=$(cat "/sys/class/block/${partition##*/}/partition")
        disk=/dev/$(basename "$(dirname "$(readlink -f "/sys/class/block/${partition##*/}")")")
        sfdisk --quiet --no-reread --no-tell-kernel --force --part-type "$disk" "$number" \
            C12A7328-F81F-11D2-BA4B-00A0C93EC93B
        grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram --no-uefi-secure-boot
    fi
    umount /boot/efi
}

# forget_key FILE: takes the tool's key out of an authorized_keys; keys that a user added stay.
forget_key() {
    [ -e "$1" ] || return 0
    key=$(cut -d' ' -f2 "$folder/tool-key")
    # In place, so that owner and mode stay.
    kept=$(grep -vF -e "$key" "$1" || true)
    if [ -n "$kept" ]; then
        printf '%s\n' "$kept" > "$1"
    else
        rm -f "$1"
    fi
}

new_keys() {
    for home in /root /home/*; do
        forget_key "$home/.ssh/authorized_keys"
    done
    if [ -n "$login" ] && [ -s "$folder/password-hash" ]; then
        # printf is the shell's own: the hash is in no process's arguments.
        printf '%s:%s\n' "$login" "$(head -n 1 "$folder/password-hash")" | chpasswd --encrypted
    fi
    rm -f /etc/ssh/ssh_host_*
    install -d -m 755 /etc/provision
    echo "${login:-root}" > /etc/provision/login
    install -m 755 "$folder/provision-first-boot.sh" /usr/local/sbin/provision-first-boot
    install -m 644 "$folder/provision-first-boot.service" /etc/systemd/system/provision-first-boot.service
    install -m 644 "$folder/provision-keys@.service" /etc/systemd/system/provision-keys@.service
    install -m 644 "$folder/90-provision.rules" /etc/udev/rules.d/90-provision.rules
    systemctl daemon-reload
    systemctl --quiet enable provision-first-boot.service
    # An empty one is made anew at boot; without the file systemd would take the boot for a first one and enable
    # every unit (machine-id(5)).
    : > /etc/machine-id
    rm -f /var/lib/dbus/machine-id
    ln -s /etc/machine-id /var/lib/dbus/machine-id
    rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /boot/efi/loader/random-seed
}

# Leases, so that the network's server takes two copies for two machines.
forget_network() {
    rm -f /var/lib/dhcpcd/* /var/lib/dhcp/* /var/lib/NetworkManager/*lease /run/systemd/netif/leases/* 2> /dev/null || true
}

# A proxy is its maker's, and its address may hold a password.
forget_proxy() {
    [ -e /etc/docker/proxy ] || [ -e /etc/apt/apt.conf.d/90proxy ] || return 0
    say "the proxy is forgotten"
    rm -f /etc/apt/apt.conf.d/90proxy /etc/systemd/system/docker.service.d/proxy.conf /etc/docker/proxy
    for home in /root /etc/skel /home/*; do
        # What else is in it is the user's own; docker.sh writes each proxy on a line of its own.
        [ ! -f "$home/.docker/config.json" ] || sed -i '/"proxies": {/,/^  }/d' "$home/.docker/config.json"
    done
}

forget_work() {
    # The former password's hash.
    rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /var/backups/passwd* /var/backups/shadow* /var/backups/group* \
        /var/backups/gshadow*
    apt-get -q clean
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
    # What is mounted there stays.
    find /tmp /var/tmp -xdev -mindepth 1 -delete 2> /dev/null || true
    rm -rf /root/.bash_history /root/.cache /root/.lesshst /root/.viminfo /root/.wget-hsts
    for home in /home/*; do
        rm -rf "$home/.bash_history" "$home/.cache" "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts" \
            "$home/.sudo_as_admin_successful"
    done
    rm -rf /var/lib/sudo/lectured/* /var/lib/systemd/coredump/* /var/crash/*
}

# The journal writes to memory from here on, so that the power-off leaves nothing either.
forget_logs() {
    journalctl --quiet --relinquish-var
    rm -rf /var/log/journal/* /var/log/installer
    find /var/log -xdev -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
    find /var/log -xdev -type f -exec truncate -s 0 {} +
    find /var/lib/docker/containers -xdev -name '*-json.log*' -exec truncate -s 0 {} + 2> /dev/null || true
    rm -f /var/lib/wtmpdb/wtmp.db /var/lib/lastlog/lastlog2.db
}

say "stopping services"
stop_services
boot_anywhere
boot_by_uefi
say "keys and identity"
new_keys
forget_network
forget_proxy
say "caches and logs"
forget_work
forget_logs
say "free space"
sync
fstrim -v /
say "done"
