#!/bin/sh
# Takes the steps out of the installer that this machine does not need, or that late.sh does in one go.
set -eu

# A step whose package has no script of its own counts as done.
for step in ethdetect netcfg choose-mirror user-setup-udeb apt-setup-udeb pkgsel grub-installer \
    systemd-boot-installer depthcharge-tools-installer nobootloader; do
    rm -f "/var/lib/dpkg/info/$step.postinst"
done
# Drivers of a disk's bus are looked for only where there is no disk yet.
[ -z "$(list-devices disk)" ] || rm -f /var/lib/dpkg/info/disk-detect.postinst

# Hooks that would install one package each, or ask the hardware again what is known.
cd /usr/lib
rm -f post-base-installer.d/*localechooser post-base-installer.d/*firmware \
    post-base-installer.d/*mouseemu post-base-installer.d/*eatmydata* \
    finish-install.d/*localechooser finish-install.d/*user-setup finish-install.d/*hw-detect \
    finish-install.d/*apt-cdrom-setup finish-install.d/*update-initramfs \
    finish-install.d/*clock-setup finish-install.d/*open-iscsi finish-install.d/*netcfg* \
    finish-install.d/*cleanup finish-install.d/*eatmydata*

# Kinds of storage that a new virtual disk has none of: LVM and encryption count as loaded by this mark of partman's.
mkdir -p /var/lib/partman
: > /var/lib/partman/loaded-extra
cd /lib/partman
rm -f init.d/*md* init.d/*iscsi* finish.d/*aptinstall* finish.d/*removable_media*
