#!/bin/sh
# preseed/late_command: makes the unpacked system boot and listen.
set -eu
target=/target

say() {
    logger -t provision "$1"
}

in_chroot() {
    PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot $target "$@"
}

write() { # FILE: standard input becomes /FILE of the installed system
    mkdir -p "$target/${1%/*}"
    cat > "$target/$1"
}

mount -t proc proc $target/proc
mount -t sysfs sysfs $target/sys
trap 'umount $target/proc $target/sys' EXIT

say "locale and name"
locale=$(debconf-get debian-installer/locale)
echo "$locale ${locale#*.}" | write etc/locale.gen
echo "LANG=$locale" | write etc/locale.conf
echo "LANG=$locale" | write etc/default/locale
in_chroot locale-gen > /dev/null &
locale_gen=$!
echo debian | write etc/hostname
write etc/hosts << EOF
127.0.0.1	localhost
127.0.1.1	debian

::1	localhost ip6-localhost ip6-loopback
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
EOF

# The predictable names of network cards follow the PCI layout, which differs between virtual
# machines. Without the default policy the card is eth0 wherever the disk goes (systemd.link(5)).
say "network"
mkdir -p $target/etc/systemd/network
ln -sf /dev/null $target/etc/systemd/network/99-default.link
write etc/network/interfaces << EOF
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet dhcp
EOF
if [ -e $target/etc/dhcpcd.conf ] && ! grep -q '^noarp$' $target/etc/dhcpcd.conf; then
    printf '\n# Use an address as soon as the server has given it.\nnoarp\n' >> $target/etc/dhcpcd.conf
fi

say "package sources"
suite=$(debconf-get cdrom/codename)
protocol=$(debconf-get mirror/protocol)
mirror=$protocol://$(debconf-get "mirror/$protocol/hostname")$(debconf-get "mirror/$protocol/directory")
security=http://$(debconf-get apt-setup/security_host)/debian-security
write etc/apt/sources.list << EOF
deb $mirror $suite main
deb $mirror $suite-updates main
deb $security $suite-security main
EOF
proxy=$(debconf-get mirror/http/proxy || true)
if [ -n "$proxy" ]; then
    echo "Acquire::http::Proxy \"$proxy\";" | write etc/apt/apt.conf.d/90proxy
fi
rm -f $target/etc/apt/apt.conf.d/00InstallRecommends $target/etc/apt/apt.conf.d/00trustcdrom \
    $target/etc/apt/apt.conf.d/00CDMountPoint
umount $target/media/cdrom 2> /dev/null || true
rm -rf $target/media/cdrom* $target/var/cache/apt/archives/*.deb $target/var/lib/apt/lists/*

say "remote access"
write etc/ssh/sshd_config.d/provision.conf << EOF
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
EOF
rm -f $target/etc/ssh/ssh_host_*
for key in /provision/ssh_host_*; do
    cp "$key" $target/etc/ssh/
done
chmod 600 $target/etc/ssh/ssh_host_*_key
mkdir -p $target/root/.ssh
chmod 700 $target/root/.ssh
cp /provision/authorized_keys $target/root/.ssh/authorized_keys
chmod 600 $target/root/.ssh/authorized_keys

say "boot loader"
sed -i '/ \/boot\/efi /s/umask=0077/noauto,umask=0077/' $target/etc/fstab
write etc/default/grub.d/provision.cfg << EOF
GRUB_TIMEOUT=0
GRUB_TIMEOUT_STYLE=hidden
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200n8"
GRUB_TERMINAL=console
GRUB_DISABLE_OS_PROBER=true
EOF
disk=$(debconf-get partman-auto/disk)
grub_install() {
    in_chroot grub-install "$disk"
    # For firmware that is UEFI, at the path where it looks on a disk that it has never seen. The installer of a machine
    # without UEFI leaves the partition's type at "Linux": firmware wants it to be that of an EFI system partition.
    in_chroot sfdisk --quiet --no-reread --no-tell-kernel --force --part-type "$disk" 2 \
        C12A7328-F81F-11D2-BA4B-00A0C93EC93B
    in_chroot mountpoint -q /boot/efi || in_chroot mount /boot/efi
    in_chroot grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram \
        --no-uefi-secure-boot
    in_chroot umount /boot/efi
}
grub_install &
grub_install=$!

# The index of the kernel's modules has been made meanwhile.
say "kernel modules"
installer=$target/var/lib/provision-installer
left=600
while [ ! -e $installer/depmod.status ] && [ $left -gt 0 ]; do
    sleep 1
    left=$((left - 1))
done
rm $target/usr/sbin/depmod
in_chroot dpkg-divert --quiet --no-rename --remove /usr/sbin/depmod
mv $target/usr/sbin/depmod.distrib $target/usr/sbin/depmod
if [ "$(cat $installer/depmod.status)" != 0 ]; then
    in_chroot depmod -a "$(basename $target/lib/modules/*)"
fi
rm -r $installer

# Small and lightly packed, since it is unpacked at each boot: what this machine's own hardware needs, and
# the disks of other virtual machines, so that the disk boots wherever it is exported to.
say "initramfs"
write etc/initramfs-tools/conf.d/provision << EOF
MODULES=dep
COMPRESS=zstd
COMPRESSLEVEL=1
RESUME=none
EOF
write etc/initramfs-tools/modules << EOF
# QEMU, KVM, KubeVirt
virtio_pci
virtio_blk
virtio_scsi
# SATA, IDE and NVMe of whatever emulates them; VirtualBox's and VMware's SCSI; Hyper-V; Xen
sd_mod
ahci
ata_piix
nvme
mptspi
vmw_pvscsi
hv_storvsc
xen_blkfront
EOF
for image in "$target"/boot/vmlinuz-*; do
    version=${image##*/vmlinuz-}
    in_chroot update-initramfs -c -k "$version"
    in_chroot linux-update-symlinks install "$version" "/boot/vmlinuz-$version"
done

wait $locale_gen
wait $grub_install
say "boot menu"
in_chroot update-grub
in_chroot fstrim / || true
say "done"
